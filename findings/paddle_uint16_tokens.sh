#!/usr/bin/env bash
# Token numbers kept as uint16 become bfloat16 numbers near zero in Paddle, and back.
#
# One would guess: paddle.to_tensor of a uint16 array, the usual way to keep the tokens of a
# large text on disk, is a tensor of these whole numbers, or an error, since Paddle has no
# uint16. And numpy() of a bfloat16 tensor is an array of its values, as float32 or so.
#
# What happens: the 16 bits are taken as they are. The array is a bfloat16 tensor whose
# values are as small as 1e-40; turned into int64 for the embedding, all these tokens are 0,
# without a word (an embedding of the tensor itself is refused). A DataLoader does the same
# to the batches. The other way, numpy() of [1.5, -2.0] is [16320, 49152] in uint16, while
# tolist() gives these bits and item() the values. What helps: to_tensor(..., dtype="int64").
#
# Seen with paddlepaddle 3.3.1 (CPU), numpy 2.4.6, Python 3.11.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q paddlepaddle==3.3.1 numpy==2.4.6 setuptools==80.9.0

cat > tokens.py <<'END'
import numpy as np
import paddle

tokens = np.array([5, 300, 15000], np.uint16)


class Texts(paddle.io.Dataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        return tokens


tensor = paddle.to_tensor(tokens)
read = tensor.astype("int64").tolist()
(batch,) = next(iter(paddle.io.DataLoader(Texts(), batch_size=1)))
print("tokens", tokens, "->", tensor.dtype, "-> int64", read, "; of a DataLoader", batch.dtype)
assert tensor.dtype == batch.dtype == paddle.bfloat16 and read == [0, 0, 0]
assert paddle.to_tensor(tokens, dtype="int64").tolist() == tokens.tolist()

values = paddle.to_tensor([1.5, -2.0], dtype="bfloat16")
print("values [1.5, -2.0] -> numpy()", values.numpy(), "-> tolist()", values.tolist())
assert values.numpy().dtype == np.uint16 and values.numpy().tolist() == [16320, 49152]
assert values.tolist() == [16320, 49152] and values[0].item() == 1.5
END
env/bin/python -W ignore tokens.py
echo "as described"
