"""The learned networks as pure functions: (params, x, cache) -> (y, cache)."""

from flax import nnx

# Modules are stateless trees of parameters here (flax FLIP 5310): no reference semantics, so plain
# jax transforms see everything.
nnx.set_graph_mode(False)
nnx.set_graph_updates(False)
