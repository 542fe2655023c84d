#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The host's end of `ask`: reads one line, has host() of the case do it, answers with what that says, and with --status its status on a
# line of its own. Started by run.sh, and by its listener once a question.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/vm/lib.sh
. tests/vm/lib.sh
host() { :; }
# shellcheck disable=SC1090 # the case
. "tests/vm/cases/$VM_CASE.sh"
read -ra question
echo "# asked: ${question[*]}" >&2
host "${question[@]}" 2>&1
status=$?
[[ ${1:-} == --status ]] && echo "$status"
exit "$status"
