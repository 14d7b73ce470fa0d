"""Figures: medians, ratios, comparisons, tables and pictures from results."""

from dataclasses import replace

import pytest
from harness import TINY, timed

from benchmarks import suites, work
from benchmarks.figures import compare, marks, readme, records, report, summary
from benchmarks.figures.records import UsageError
from benchmarks.figures.write import write
from benchmarks.work import epoch, tick, update, whole_run

EPOCH = epoch.Case("lstm", 4, 5, 3, 6)
EMPTY = {"command": "", "machine": {}, "versions": {}, "settings": {}, "systems": {}}


def test_the_ratio_is_that_of_paired_rounds():
    # The machine slows down fourfold; every round shows a ratio of 2 all the same.
    ratio = summary.paired_ratio([2.0, 4.0, 8.0], [1.0, 2.0, 4.0])
    assert ratio == (2.0, 2.0, 2.0)
    # The ratio of the medians would be 1.
    assert summary.paired_ratio([1.0, 2.0, 9.0], [2.0, 0.5, 3.0]).median == 3.0
    with pytest.raises(ValueError, match="as many rounds"):
        summary.paired_ratio([1.0], [1.0, 2.0])


def test_each_system_counts_in_its_best_setting():
    systems = timed(
        jaxrnn_at_1=[4.0, 4.0, 4.0],
        jaxrnn_at_2=[2.0, 1.0, 1.0],
        flax_at_1=[4.0, 3.0, 3.0],
        flax_at_2=[9.0, 9.0, 1.0],
        roof_product_at_1=[5.0, 5.0, 5.0],
    )["summary"]["systems"]
    assert systems["jaxrnn"]["setting"] == "jaxrnn@2"
    assert systems["flax"]["setting"] == "flax@1"
    assert systems["flax"]["ratio"]["median"] == 3.0  # of 2, 3 and 3
    assert systems["jaxrnn"]["tokens_per_second"] == TINY.batch * TINY.time
    assert systems["jaxrnn"]["roof"] == {"flops": 0.5, "share": 0.5}
    assert "roof_product" not in systems


def test_variants_of_jaxrnn_are_no_peers():
    record = timed(jaxrnn_at_1=[4.0], jaxrnn_scan_at_1=[1.0], jaxrnn_batched_at_1=[1.0])
    assert record["summary"]["fastest_peer"] is None


def test_compile_time_and_memory_are_compared_with_the_same_setting_of_the_scan():
    record = timed(
        jaxrnn_at_1=[4.0],
        jaxrnn_at_2=[2.0],
        jaxrnn_scan_at_1=[1.0],
        jaxrnn_scan_at_2=[9.0],
    )
    costs = {
        "jaxrnn@2": (3.0, 14),
        "jaxrnn_scan@1": (5.0, 5),
        "jaxrnn_scan@2": (2.0, 7),
    }
    for name, (seconds, size) in costs.items():
        record["runs"][name] |= {"compile_seconds": seconds, "memory_bytes": size}
    found = summary.summarize(record)["to_plain_scan"]
    assert found == {"compile_seconds": 1.5, "memory_bytes": 2.0}
    assert timed(jaxrnn_at_1=[4.0])["summary"]["to_plain_scan"] == {}
    assert timed(flax_at_1=[4.0])["summary"]["to_plain_scan"] == {}


def test_the_baseline_is_compared_in_each_setting():
    record = timed(
        jaxrnn_at_1=[2.0, 2.0, 2.0],
        jaxrnn_at_2=[1.0, 1.0, 1.0],
        jaxrnn_baseline_at_1=[3.0, 3.0, 3.0],
        jaxrnn_baseline_at_2=[0.5, 0.5, 0.5],
    )
    settings = record["summary"]["baseline"]
    assert settings["jaxrnn@1"]["ratio"]["median"] == 1.5
    assert settings["jaxrnn@2"]["ratio"]["median"] == 0.5
    assert settings["jaxrnn@2"]["compile_seconds"] == 1.0
    head, rows = report.baseline({"cases": [record]})
    verdicts = [row[head.index("this is")] for row in rows]
    assert verdicts == ["faster", "slower"]
    assert timed(jaxrnn_at_1=[4.0])["summary"]["baseline"] == {}


def test_geometric_means():
    cases = [
        timed(jaxrnn_at_1=[1.0], torch_at_1=[2.0], flax_at_1=[4.0], haiku_at_1=[9.0]),
        timed(EPOCH, jaxrnn_at_1=[1.0], torch_at_1=[8.0], flax_at_1=[16.0]),
        timed(replace(TINY, mode="forward"), jaxrnn_at_1=[1.0], torch_at_1=[99.0]),
    ]
    means = summary.geometric_means(cases)
    assert means["fastest peer"]["mean"] == pytest.approx(4)
    assert means["fastest peer"]["smallest"] == 2
    best = "best of flax, flax_nnx, haiku, equinox, keras"
    assert means[best]["mean"] == pytest.approx(8)
    assert means[best]["worst"] == TINY.name
    assert means["haiku"]["cases"] == 1
    forward = summary.geometric_means(cases, ("forward",))
    assert forward["fastest peer"]["mean"] == pytest.approx(99)


def test_exponents():
    cases = [
        timed(replace(TINY, time=time), jaxrnn_at_1=[time**2], torch_at_1=[3.0 * time])
        for time in (8, 16, 32, 64)
    ]
    growth = summary.exponents(cases, work.to_json(TINY), ["time"])["time"]
    assert growth["jaxrnn"]["sizes"] == [8, 16, 32, 64]
    assert growth["jaxrnn"]["exponent"] == pytest.approx(2)
    assert growth["torch"]["exponent"] == pytest.approx(1)


def test_verdicts():
    before = [1.0, 1.1, 1.2, 1.3]
    assert compare.verdict(before, [0.5, 0.6, 0.6, 0.7]) == "faster"
    assert compare.verdict(before, [2.0, 2.1, 2.2, 2.3]) == "slower"
    assert compare.verdict(before, [1.0, 1.15, 1.2, 1.5]) == "within noise"


def test_a_comparison_names_what_moved_what_came_and_what_went():
    before = timed(jaxrnn_at_1=[2.0, 2.0], flax_at_1=[3.0, 3.0])
    after = timed(jaxrnn_at_2=[1.0, 1.0], haiku_at_1=[3.0, 3.0])
    old = {"cases": [before], "versions": {"jax": "1"}}
    new = {"cases": [after], "versions": {"jax": "2"}}
    rows = {row["system"]: row for row in compare.compare(old, new)}
    assert rows["jaxrnn"]["verdict"] == "faster"
    assert rows["jaxrnn"]["ratio"].median == 2
    assert rows["flax"]["verdict"] == "gone"
    assert rows["haiku"]["verdict"] == "new"
    text = compare.markdown(old, new)
    assert "versions: jax: 1 -> 2" in text
    assert "3 of 3 moved" in text


def test_a_comparison_has_the_ratio_its_spread_its_mean_and_what_became_slower():
    other = replace(TINY, cell="gru")
    old = {
        "cases": [
            timed(jaxrnn_at_1=[4.0, 4.4], flax_at_1=[1.0, 1.0]),
            timed(other, jaxrnn_at_1=[1.0, 1.0]),
        ]
    }
    new = {
        "cases": [timed(jaxrnn_at_1=[1.0, 1.1]), timed(other, jaxrnn_at_1=[4.0, 4.0])]
    }
    ratio = compare.ratio([4.0, 4.4], [1.0, 1.1])
    assert ratio.median == pytest.approx(4)
    assert ratio.low < 4 < ratio.high
    text = compare.markdown(old, new)
    assert "- jaxrnn: 1.00 over 2 (smallest 0.25 in gru train" in text
    assert f"jaxrnn became slower, by more than the spread, in: {other.name}" in text
    assert f"slower, by more than the spread, in: {TINY.name}" not in text


def test_both_runs_stand_side_by_side():
    mean = {"mean": 1.5, "smallest": 1.0, "cases": 1}
    old = {"cases": [timed(jaxrnn_at_1=[2.0])], "means": {"flax": mean}}
    new = old | {"means": {"flax": mean | {"mean": 2.5}, "keras": mean}}
    assert compare.to_peers(old, new) == [
        ["flax", "1.50", "1.00", "2.50", "1.00"],
        ["keras", "-", "-", "1.50", "1.00"],
    ]
    old["versions"], new["versions"] = {"jax": "0.10.2"}, {"jax": "0.12.0"}
    text = compare.markdown(old, new)
    assert "versions: jax: 0.10.2 -> 0.12.0" in text
    assert "peer / jaxrnn, training" in text


def test_runs_without_a_case_in_common_are_told():
    old = {"cases": [timed(jaxrnn_at_1=[1.0])]}
    new = {"cases": [timed(EPOCH, jaxrnn_at_1=[1.0])]}
    with pytest.raises(UsageError, match="no case in common: 1 such as 'lstm train"):
        compare.markdown(old, new)
    with pytest.raises(UsageError, match="no case in common: none and 1 such as"):
        compare.markdown({"cases": []}, new)


def test_a_run_in_short():
    large = replace(TINY, batch=64, time=50, input_size=128, hidden_size=512)
    record = timed(
        large,
        jaxrnn_at_1=[2.0, 2.0],
        jaxrnn_loops_at_1=[5.0, 5.0],
        flax_at_1=[3.0, 3.0],
        roof_product_at_1=[1.0, 1.0],
        roof_fma_at_1=[0.5, 0.5],
    )
    record |= {"flops": 3e9}
    for name, costs in {
        "jaxrnn@1": (6, 8, 1.0),
        "jaxrnn_loops@1": (8, 16, 2.0),
    }.items():
        names = ("temp_bytes", "peak_bytes", "compile_seconds")
        record["runs"][name] |= dict(zip(names, costs, strict=True))
    for name in ("roof_product@1", "roof_fma@1"):
        record["runs"][name]["flops"] = 5e9
    record["summary"] = summary.summarize(record)
    stream = timed(tick.Case("gru", 1, 9, 32, 128), jaxrnn_at_1=[1.0], keras_at_1=[2.0])
    lines = marks.lines({"cases": [record, stream]})
    case = large.name
    assert lines[0] == (
        f"training, fastest peer / jaxrnn: 1.50 over 1 cases (smallest 1.50 in {case})"
    )
    assert "time of a tick: gru tick 1x9x32x128 0.50 of keras" in lines
    rates = [line for line in lines if line.startswith("above 2 GFLOP")]
    assert "product: 30% to 30%" in rates[0]
    assert "multiply-adds: 15% to 15%" in rates[1]
    assert lines[-1] == (
        f"{case}, with kernels / without: compile 0.50, temporaries 0.75, "
        "growth of the process 0.50"
    )
    head, ((*row,),) = marks.kernels({"cases": [record]})
    assert row[:2] == [case, "2.5 [2.5, 2.5]"]
    assert [row[i] for i, h in enumerate(head) if h == "with / without"] == [
        "0.75",
        "0.50",
        "0.50",
    ]
    # The peak of multiply-adds is no roof that a program could reach.
    assert record["summary"]["systems"]["jaxrnn"]["roof"]["share"] == 0.3


def test_scaling_is_drawn(tmp_path):
    cases = [
        timed(
            replace(suites.SCALING_BASE, time=time),
            jaxrnn_at_1=[0.1 * time] * 2,
            torch_at_1=[0.2 * time] * 2,
        )
        for time in suites.SCALING_SIZES["time"]
    ]
    write(tmp_path, EMPTY | {"suite": "scaling", "cases": cases})
    assert (tmp_path / "scaling.png").stat().st_size > 0
    assert "time ~ size^" in (tmp_path / "table.md").read_text()


def test_the_growth_with_devices():
    case = update.Case("elman", 4, 5, 3, 6)
    record = timed(case, jaxrnn_at_1=[3.0], jaxrnn_at_2=[2.0], jaxrnn_weak_at_2=[4.0])
    record["runs"]["jaxrnn@2"]["sent_bytes"] = 4 * case.num_params + 4
    results = EMPTY | {"cases": [record], "settings": {"devices": 2}}
    _, (row,) = report.devices(results)
    assert row[3].startswith("1.5 ")
    assert row[5].startswith("1.5 ")
    assert row[-2:] == [str(4 * case.num_params + 4), str(4 * case.num_params)]


def test_whole_runs_are_told_in_seconds(tmp_path):
    case = whole_run.Case("folder", 20)
    record = timed(case, jaxrnn_at_2=[140.0, 160.0], torch_at_2=[300.0, 320.0])
    record |= {"flops": None, "bytes": None}
    for run in record["runs"].values():
        run |= {"compile_seconds": None, "test_accuracy": [0.99, 0.98]}
    write(tmp_path, EMPTY | {"suite": "whole_run", "cases": [record]})
    table = (tmp_path / "table.md").read_text()
    assert "150 [145, 155]" in table
    assert "| torch  |  2 | 300, 320 | 99.00%, 98.00% |" in table
    assert "GFLOP |" not in table
    assert not (tmp_path / "roof.png").exists()


def test_columns_without_figures_are_left_out():
    text = report.text(["a", "b", "c"], [["1", "-", "2"], ["3", "-", "-"]])
    assert text.splitlines() == [
        "| a  |  c |",
        "| :- | -: |",
        "| 1  |  2 |",
        "| 3  |  - |",
    ]


def test_results_of_another_format_are_refused_but_can_be_compared(tmp_path):
    records.write_json(tmp_path / "results.json", {"cases": [], "format": 1})
    with pytest.raises(UsageError, match="expected format 2, got 1"):
        records.read(tmp_path)
    assert records.read(tmp_path, seconds_only=True)["cases"] == []


def test_the_pages_have_the_stored_figures():
    readme.main(["--check"])


def test_a_page_that_differs_from_the_results_is_found(tmp_path, monkeypatch, capsys):
    page = "old\n<!-- growth: begin -->\n999\n<!-- growth: end -->\nmore\n"
    (tmp_path / "PAGE.md").write_text(page)
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    growth = readme.PAGES["benchmarks/README.md"]["growth"]
    monkeypatch.setattr(readme, "PAGES", {"PAGE.md": {"growth": growth}})
    results = tmp_path / "results" / "scaling"
    results.mkdir(parents=True)
    stored = records.FOLDER / "scaling"
    for name in ("results.json", "table.md"):
        (results / name).write_text((stored / name).read_text())
    monkeypatch.setattr(records, "FOLDER", tmp_path / "results")
    with pytest.raises(SystemExit, match="differs"):
        readme.main(["--check"])
    assert capsys.readouterr().out == "PAGE.md\n"
    assert (tmp_path / "PAGE.md").read_text() == page
    readme.main([])
    readme.main(["--check"])
    text = (tmp_path / "PAGE.md").read_text()
    assert text.startswith("old\n<!-- growth: begin -->\n| time ~ size^ |")
    assert text.endswith("|\n<!-- growth: end -->\nmore\n")


def test_a_page_without_its_part_is_told(tmp_path, monkeypatch):
    (tmp_path / "README.md").write_text("<!-- benchmarks: begin -->\nno end")
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    with pytest.raises(UsageError, match="expected <!-- benchmarks: begin --> and"):
        readme.filled("README.md")
