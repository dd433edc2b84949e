#!/usr/bin/env bash
# test_conflict_zk.sh: see conflict.bash.
KIND=zk
. "$(dirname "$0")/conflict.bash"

seed_source_wins
seed_target_wins
seed_stop
newest_is_refused
stream_source_wins
stream_target_wins
stream_stop
two_writers
drift_repair
drift_keep
delete_policy owned "" foreign
delete_policy never old-1 foreign
delete_policy all "" ""
