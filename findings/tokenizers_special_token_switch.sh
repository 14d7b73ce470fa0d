#!/usr/bin/env bash
# The switch that keeps the name of a control token in a text as text is not saved.
#
# One would guess: a tokenizer that is written and read back encodes as before, since its
# file holds the model, the normalizer, the pre-tokenizer and the special tokens.
#
# What happens: `encode_special_tokens = True`, by which "</s>" in a review or a dialogue is
# read letter by letter instead of as the end of the sequence, is in no file, string, pickle
# or deep copy. The tokenizer that was trained with the texts treated as texts is loaded as
# one for which each "</s>" of the user ends the sequence. Nothing is said; set it again.
#
# Seen with tokenizers 0.23.3.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q tokenizers==0.23.3

cat > switch.py <<'END'
import copy
import pickle

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.train_from_iterator(
    ["what does this mean"],
    trainers.BpeTrainer(
        special_tokens=["<unk>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    ),
)
text = "what does </s> mean"
end = tokenizer.token_to_id("</s>")

tokenizer.encode_special_tokens = True
before = tokenizer.encode(text)
print("before:", before.tokens)
assert end not in before.ids

tokenizer.save("tokenizer.json")
for way, other in (
    ("save", Tokenizer.from_file("tokenizer.json")),
    ("to_str", Tokenizer.from_str(tokenizer.to_str())),
    ("pickle", pickle.loads(pickle.dumps(tokenizer))),
    ("deepcopy", copy.deepcopy(tokenizer)),
):
    print(f"after {way}:", other.encode(text).tokens)
    assert not other.encode_special_tokens and end in other.encode(text).ids
    other.encode_special_tokens = True
    assert other.encode(text).ids == before.ids
END
env/bin/python switch.py
echo "as described"
