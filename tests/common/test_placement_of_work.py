"""What XLA compiles touches no variable of the host: on a GPU it could not.

A CPU runs it either way, so that the graph itself is looked at.
"""

import pytest
import tensorflow as tf

from tests.helpers.tiny import NUM_ITEMS, RunSettings, make_run, split_of, tiny_histories

HOST_OPS = {"ResourceScatterUpdate", "ResourceScatterNdUpdate", "ResourceScatterNdAdd"}
COMPILED = ("_draw", "_learn", "_follow")


@pytest.fixture(scope="module", params=["ufnrec", "plain"])
def traced(request):
    """A compiled run, and the graph of its step."""
    run = make_run(
        RunSettings(policy=request.param, compiles=True), split_of(tiny_histories(), NUM_ITEMS)
    )
    step = tf.function(run.model.train_step)
    return run, step.get_concrete_function(next(iter(run.dataset()))).graph.as_graph_def()


def functions_called(nodes, library):
    """Names of the functions that these nodes call, directly or not."""
    found, waiting = set(), list(nodes)
    while waiting:
        node = waiting.pop()
        for attribute in node.attr.values():
            for name in {attribute.func.name, *(f.name for f in attribute.list.func)} - {""}:
                if name in library and name not in found:
                    found.add(name)
                    waiting.extend(library[name].node_def)
    return found


@pytest.mark.slow
def test_no_table_is_written_in_a_compiled_program(traced):
    _, graph = traced
    library = {function.signature.name: function for function in graph.library.function}
    everywhere = [*graph.node, *(node for f in library.values() for node in f.node_def)]
    is_compiled = {name for name, f in library.items() if f.attr["_XlaMustCompile"].b}
    assert len(is_compiled) == len(COMPILED)
    inside = is_compiled | functions_called(
        [node for name in is_compiled for node in library[name].node_def], library
    )
    written = {node.op for name in inside for node in library[name].node_def} & HOST_OPS
    assert not written
    # Written it is, elsewhere: the sums in any case.
    assert {node.op for node in everywhere} & HOST_OPS


@pytest.mark.slow
def test_no_compiled_program_reads_a_variable_of_the_host(traced):
    run, _ = traced
    host = [run.host.active_since, run.host.sums, run.host.first_bad_step]
    for table in [] if run.memory is None else run.memory.variables.values():
        host += getattr(table, "variables", [table])
    own = {id(variable.value) for variable in run.model.backbone.trainable_variables}
    for name in COMPILED:
        programs = getattr(run.model, name)._list_all_concrete_functions()
        assert programs, name
        for program in programs:
            read = {id(variable) for variable in program.graph.variables}
            assert not read & {id(variable) for variable in host}, name
            assert name == "_draw" or read & own, name
