"""The documents show what the benchmark wrote, and the table holds each case to its bar."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.engine.cases import CASES, find
from benchmarks.engine.machine import LARGE, Machine
from benchmarks.engine.markdown import PAGES, with_table
from benchmarks.engine.rows import Row
from benchmarks.engine.table import read_rows
from benchmarks.engine.work import moves, products

ROW = Row(
    case="MLP 784-512-512-10, batch 128",
    threads=1,
    ours_us=2000.0,
    peers_us={"PyTorch": 5000.0, "JAX": 2400.0},
    names={"PyTorch": "PyTorch 2", "JAX": "JAX 0"},
    products_us=1700.0,
    moves_us=100.0,
    gflop=0.1,
    sgemm_gflops=50.0,
    compilation_s=1.0,
    losses_off_by={},
    facts={},
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_pages_table_is_what_the_benchmark_wrote(page):
    text = page.read_text()
    assert with_table(text, PAGES[page](read_rows())) == text


def test_every_case_is_in_the_table_at_one_thread():
    assert [row.case for row in read_rows() if row.threads == 1] == [case.name for case in CASES]


def test_the_products_of_a_perceptron_are_its_layers_forward_and_both_gradients():
    """The first layer's inputs need no gradient."""
    case = find("MLP 1024")[0]
    macs = 256 * (2 * 1024 * 1024 + 3 * (1024 * 1024 + 1024 * 10))
    assert sum(one.flop * one.times for one in products(case)) == 2 * macs


def test_the_products_of_an_lstm_have_the_states_gradient_too():
    """24 steps, 32 rows; kernel (1, 128) twice, recurrent kernel (32, 128) and dense thrice."""
    case = find("LSTM 1-32")[0]
    macs = 24 * 32 * (2 * 1 * 128 + 3 * 32 * 128) + 3 * 32 * 32
    assert sum(one.flop * one.times for one in products(case)) == 2 * macs


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_products_are_nearly_all_operations_that_the_summary_counts(case):
    """What it counts beside products is of each value once or a few times, so it is little."""
    from chainrule.spec import ArchitectureSpec, parse, summarize

    forward = sum(one.flop * one.times for one in products(case) if one.of == "y")
    layers = summarize(parse(ArchitectureSpec, case.spec))["layers"]
    counted = case.batch * sum(one["flops"] for one in layers if "depthwise" not in one["kind"])
    assert 0.9 * counted < forward <= counted


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_layer_but_a_flatten_moves_values_both_ways(case):
    from benchmarks.engine.cases import wiring

    layers = [node for node in wiring(case) if node.spec.kind != "flatten"]
    assert len(moves(case)) >= 2 + len(layers)


def test_the_machine_tells_its_three_times_with_two_threads_at_once():
    machine = Machine(find("MLP 64-32-10")[0], 2)
    assert [seconds > 0 for seconds in machine.epoch(0)] == [True] * 3


def test_the_bar_of_a_large_perceptron_is_its_products_share():
    assert (ROW.bar.name, ROW.bar.got, ROW.bar.holds) == ("products", 0.85, False)


def test_the_bar_of_most_cases_is_the_roof():
    row = replace(ROW, case="LSTM 64-128, 100 steps, batch 64")
    assert (row.bar.name, row.bar.got, row.bar.holds) == ("roof", 0.9, True)


@pytest.mark.parametrize(("gflop", "bar"), [(0.0017, "PyTorch>=8"), (0.0018, "roof>=60%")])
def test_where_pytorch_hardly_computes_it_must_be_eight_times_slower(gflop, bar):
    """At 50 GFLOP/s 5 % of 700 us are 0.00175 GFLOP."""
    row = replace(ROW, case="MLP 64-32-10, batch 32", peers_us={"PyTorch": 700.0}, gflop=gflop)
    assert str(row.bar) == bar


def test_a_jax_job_has_its_compilation_and_ends_within_our_second():
    """An epoch is 20 steps of 2 ms, so that 20 of them fit: 400 steps, 1 s of compilation."""
    assert ROW.job_epochs == 20
    assert ROW.jax_job == pytest.approx((1e6 / 400 + 2400) / 2000)
    assert replace(ROW, ours_us=4000.0).job_epochs == 12
    assert replace(ROW, ours_us=60000.0).jax_job is None


def test_the_file_keeps_all_that_a_row_measured():
    assert Row.read(ROW.document()) == ROW
    assert LARGE.flop == 2 * 1024**3
