#!/usr/bin/env bash
# test_outage_etcd_zk.sh: see outage.bash.
KIND=etcd
TARGET_KIND=zk
. "$(dirname "$0")/outage.bash"

changes_while_down
history_lost_while_down
history_lost_while_running
restore_case "while the agent is down" yes nothing
restore_case "while it is down, and overtaken since" yes overtaken
restore_case "the same, without its history" yes forgotten
restore_case "under a running agent" no nothing
target_case "restored from an older backup" store_restore
target_case "wiped" store_wipe
wiped
