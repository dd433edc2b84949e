#!/usr/bin/env bash
# test_fuse_zk.sh: see fuse.bash.
KIND=zk
. "$(dirname "$0")/fuse.bash"

told
threshold 100 50 0
threshold 100 51 1
threshold 300 60 0
threshold 300 61 1
threshold 10 10 1
threshold 20 5 0 --max-delete 5
threshold 20 6 1 --max-delete 5
threshold 20 2 0 --max-delete 10%
threshold 20 3 1 --max-delete 10%
comes_back
