#!/bin/sh
# Model checks of the core: every interleaving within bounds, a kill being possible at every step.
#
#   ci/model.sh          the bounds of every push (a few minutes)
#   ci/model.sh deep     deeper bounds (hours on two cores); the table is printed either way
#
# One table row a check: name, bounds (preemptions, kills, timeouts, interrupts), executions, kills, executions that
# needed a heartbeat.
set -eu
cd "$(dirname "$0")/../rust"
if [ "${1:-}" = deep ]; then
    export HOLDFAST_MODEL_DEEP=1
fi
exec cargo test --release -p holdfast-core --features model --tests -- --nocapture
