# The run folder of `mica train`: what it holds, and that a run which was killed goes on in it as if nothing
# had happened.
. "$MICA_SOURCE/tests/support/tool.sh"

awk 'BEGIN { print "x,y,class"; for (i = 0; i < 3000; i++) { a = (i * 7919) % 997; b = (i * 104729) % 983
  print a "," b "," (a > b ? "over" : "under") } }' >rows.csv
command=("$mica" train mlp:hidden=64 --data rows.csv --label class --batch-size 32)
train() { "${command[@]}" "$@"; }
# step and everything but the time of each line
lines() { sed 's/"seconds":[^,]*,//' "$1/metrics.jsonl"; }

check "a whole run" train --epochs 12 -o whole.mica --json
json_holds() { grep -q "\"$2\": \"\{0,1\}$3" "$1"; }
check "config.json has the command" json_holds whole.mica.run/config.json command "mica train mlp:hidden=64"
check "config.json has the seed" json_holds whole.mica.run/config.json seed 0
check "config.json has the data's checksum" json_holds whole.mica.run/config.json data_sha256 \
  "$(sha256sum rows.csv | cut -c1-64)"
check "config.json has the version" json_holds whole.mica.run/config.json mica "0\."
check "the model file has the data's checksum" grep -aq "$(sha256sum rows.csv | cut -c1-64)" whole.mica
epochs_are_told() { [ "$(grep -c '"epoch_loss":.*"val_loss":.*"val_accuracy":' whole.mica.run/metrics.jsonl)" = 12 ]; }
check "each epoch has a line" epochs_are_told

# Killed at a moment of its choosing, then resumed: the same lines, and the same weights.
killed_and_resumed() {
  "${command[@]}" --epochs 12 -o killed.mica --json >progress 2>&1 & # no function: the tool itself is to die
  local pid=$! seen
  for _ in $(seq 2000); do # from the third epoch on
    seen=$(grep -c '"val_loss"' progress)
    [ "$seen" -ge 3 ] && break
    kill -0 $pid 2>/dev/null || break
    sleep 0.005
  done
  kill -9 $pid 2>/dev/null
  wait $pid 2>/dev/null
  train --epochs 12 -o killed.mica --resume --report killed.report >resumed 2>&1 || { cat resumed; return 1; }
  diff <(lines whole.mica.run) <(lines killed.mica.run) && cmp whole.mica.run/last.safetensors killed.mica.run/last.safetensors
}
check "a killed run goes on as if it had not been" killed_and_resumed
steps_rise() { sed 's/.*"step":\([0-9]*\).*/\1/' killed.mica.run/metrics.jsonl | sort -n -c -u; }
check "no step is told twice" steps_rise
# What a killed process said of steps that the resumed one told again is void, as the event files say too.
if command -v python3 >/dev/null; then
  events_agree() {
    python3 "$MICA_SOURCE/tests/read_event_files.py" whole.mica.run val_loss >a &&
      python3 "$MICA_SOURCE/tests/read_event_files.py" killed.mica.run val_loss >b && [ "$(wc -l <a)" = 12 ] && diff a b &&
      python3 "$MICA_SOURCE/tests/read_event_files.py" whole.mica.run loss >a &&
      python3 "$MICA_SOURCE/tests/read_event_files.py" killed.mica.run loss >b && [ -s a ] && diff a b
  }
  check "the event files tell the same" events_agree
else
  echo "skip the event files tell the same: there is no python3"
fi

# A fresh run in the folder begins anew: nothing of the one before can be resumed by mistake.
begins_anew() {
  train --epochs 1 -o whole.mica && [ "$(grep -c epoch_loss whole.mica.run/metrics.jsonl)" = 1 ] &&
    [ "$(ls whole.mica.run/events.out.tfevents.* | wc -l)" = 1 ]
}
check "a fresh run begins anew" begins_anew
rules_by_name() {
  train --epochs 1 -o rules.mica --optimiser "adamw:weight_decay=0 | *.bias=sgd:lr=0.1" --lr 0.02 &&
    json_holds rules.mica.run/config.json optimiser "adamw:weight_decay=0:lr=0.02 | \*.bias=sgd:lr=0.1" &&
    ! train --epochs 1 -o rules.mica --optimiser "adamw | heads.*=sgd" >said 2>&1 && grep -q "'heads.\*' matches no parameter" said
}
check "rules by name, --lr in the first" rules_by_name
in_stages() {
  train -o staged.mica --stage epochs=2:train=head.* --stage "rewind=*:rewind_epoch=1:unfreeze=*:optimiser=(sgd:lr=0.1)" --json >said &&
    json_holds staged.mica.run/config.json stages "(epochs=2:train=head.\*),(rewind=" && ! grep -q '"epochs":' staged.mica.run/config.json &&
    [ "$(grep -c epoch_loss staged.mica.run/metrics.jsonl)" = 3 ] && grep epoch_loss staged.mica.run/metrics.jsonl | tail -1 | grep -q '"stage": *2' &&
    ! train -o staged.mica --stage epochs=2 --stage epoch=1 >said 2>&1 && grep -q "stage 2: .*did you mean 'epochs'" said
}
check "a run in stages" in_stages
check "list stage tells the keys" bash -c '"$0" list stage | grep -q "rewind_epoch  *those after so many epochs"' "$mica"
warned_of_other_data() {
  echo "1,2,under" >>rows.csv
  train --epochs 2 -o whole.mica --resume >said 2>&1
  grep -q "whole.mica.run: the data are not those that this run began with" said
}
check "other data are told on a resume" warned_of_other_data
alone() {
  exec 8>>killed.mica.run/metrics.jsonl
  flock 8
  ! train --epochs 1 -o killed.mica >said 2>&1 && grep -q "another run is writing it" said && [ -e killed.mica.run/last.safetensors ]
}
check "two runs in one folder are refused" alone
