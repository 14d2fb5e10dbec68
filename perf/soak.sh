#!/usr/bin/env bash
# A soak: a chain of processes under load while clients, observers and strangers come and go and validators restart. Samples
# memory and descriptors of every node and ends with a verdict: `flat` (status 0) or `grows` (status 1); 2 is bad input.
#
#   perf/soak.sh [--span SECONDS] [--nodes N] [--port P] [--slack MB] [--throng PROGRAM] [--keep DIR]
#
# The rule. The first fifth of the span is warm-up. Of the rest, each node's median in the last third stands against its median
# in the first third, leaving out what a process held in its first moments (a thirtieth of the span). Where a node was started
# again, each life has a median of its own, and the lowest of the last third stands against the highest of the first: what a
# start reads, and when the first large buffer is filled, differs from life to life by more than a leak makes. It grows if anonymous
# memory is more than a tenth and SLACK MB (4) above, resident memory more than a quarter and 32 MB (it includes mapped block
# files, which the system takes back when it likes), or descriptors more than 8. Nodes keep little on purpose, so that what is
# bounded has reached its bound by then.
set -euo pipefail

span=600 nodes=4 port=$((20000 + $$ % 5000 * 2)) slack=4 keep=
throng=$(dirname "$0")/../target/release/throng
bad() { echo "soak: $*" >&2; exit 2; }
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || bad "$1 needs a value; see the head of $0"
  case $1 in
    --span) span=$2 ;; --nodes) nodes=$2 ;; --port) port=$2 ;; --slack) slack=$2 ;;
    --throng) throng=$2 ;; --keep) keep=$2 ;;
    *) bad "there is no $1; see the head of $0" ;;
  esac
  shift 2
done
for number in "$span" "$nodes" "$port" "$slack"; do
  [[ $number =~ ^[0-9]+$ ]] || bad "\`$number\` is no whole number"
done
[ "$span" -ge 20 ] || bad "--span $span: give at least 20 seconds"
[ "$nodes" -ge 4 ] || bad "--nodes $nodes: give at least 4, so that one may be away"
[ -x "$throng" ] || bad "$throng is no program: build it (cargo build --release) or name one with --throng"
[ -r /proc/self/status ] || bad "memory and descriptors are read from /proc, which is not here"

dir=$(mktemp -d)
chain=$dir/chain
declare -A pids born
loops=()

# Ends what was started, and nothing else.
clean() {
  touch "$dir/stop"
  for name in "${!pids[@]}"; do kill "${pids[$name]}" 2>/dev/null || true; done
  for loop in "${loops[@]}"; do kill "$loop" 2>/dev/null || true; done
  wait 2>/dev/null || true
  if [ -n "$keep" ]; then mkdir -p "$keep" && cp "$dir"/samples.csv "$dir"/*.log "$keep" 2>/dev/null || true; fi
  rm -rf "$dir"
}
trap clean EXIT
trap 'exit 130' INT TERM

clients_of() { echo "127.0.0.1:$((port + 2 * $1 + 1))"; }

# What a node keeps for others is bounded tightly, so that the bounds are reached within the warm-up.
bounds=(--verify-threads 1 --keep-blocks 200 --snapshot-after-bytes 4194304 --vertices-kept-depths 10
  --vertices-kept-bytes 1048576 --batches-kept 64 --segment-bytes 16777216 --cached-bytes 16777216)

validator() {
  "$throng" node --config "$chain/node-$1/config.toml" "${bounds[@]}" >>"$dir/node-$1.log" 2>&1 &
  pids[node-$1]=$! born[node-$1]=$SECONDS
}

# An observer with a directory of its own; $2 is the distance of its ports.
observer() {
  local key=$dir/$1.toml at=$((port + 2 * nodes + $2))
  [ -e "$key" ] || "$throng" keygen "$key" >/dev/null
  "$throng" node --observe --genesis "$chain/genesis" --key "$key" --dir "$dir/$1" --bootstrap "127.0.0.1:$port" \
    --listen-peers "127.0.0.1:$at" --listen-clients "127.0.0.1:$((at + 1))" "${bounds[@]}" >>"$dir/$1.log" 2>&1 &
  pids[$1]=$! born[$1]=$SECONDS
}

# A client after the other, a connection each: 32 transfers, settled before the next one comes.
client() {
  while [ ! -e "$dir/stop" ]; do
    "$throng" send --node "$(clients_of "$1")" --keys "$chain/accounts.toml" --from $(($1 + 1)) --to $((($1 + 1) % nodes + 1)) \
      --amount 1 --count 32 --timeout 2s >/dev/null 2>&1 && echo >>"$dir/settled" || sleep 0.2
  done
}

# Strangers on the ports of a node: one sends noise, one says nothing and stays a while, one hangs up at once.
stranger() {
  while [ ! -e "$dir/stop" ]; do
    for at in $((port + 2 * $1)) $((port + 2 * $1 + 1)); do
      (head -c 3000 /dev/urandom >"/dev/tcp/127.0.0.1/$at") 2>/dev/null || true
      (exec 3<>"/dev/tcp/127.0.0.1/$at" && sleep 1) 2>/dev/null || true
      (exec 3<>"/dev/tcp/127.0.0.1/$at") 2>/dev/null || true
    done
    sleep 0.3
  done
}

sample() {
  local name pid
  for name in "${!pids[@]}"; do
    pid=${pids[$name]}
    [ -e "/proc/$pid/fd" ] || continue
    awk -v at="$SECONDS" -v name="$name" -v age=$((SECONDS - ${born[$name]})) \
      -v open="$(ls "/proc/$pid/fd" 2>/dev/null | wc -l)" \
      '/^VmRSS:/ { rss = $2 } /^RssAnon:/ { anon = $2 } END { if (anon) print at "," name "," age "," anon "," rss "," open }' \
      "/proc/$pid/status" >>"$dir/samples.csv" 2>/dev/null || true
  done
}

ended() { echo "soak: $1 ended by itself: $(tail -n 1 "$dir/$1.log")" >&2; exit 1; }

"$throng" genesis --validators "$nodes" --accounts "$nodes" --port "$port" --out "$chain" >/dev/null
for ((seat = 0; seat < nodes; seat++)); do validator $seat; done
observer stays 0
for ((seat = 0; seat < nodes; seat++)); do
  client $seat & loops+=($!)
  stranger $seat & loops+=($!)
done

# Seats from 2 on restart in turn, cleanly and by force; an observer comes and goes beside them.
every=$((span / 20 > 4 ? span / 20 : 4)) turn=0 next=$((SECONDS + span / 20 + 2)) end=$((SECONDS + span))
begin=$SECONDS
while [ $SECONDS -lt $end ]; do
  sleep 0.5
  sample
  for name in "${!pids[@]}"; do kill -0 "${pids[$name]}" 2>/dev/null || ended "$name"; done
  [ $SECONDS -ge $next ] || continue
  next=$((SECONDS + every)) seat=$((2 + turn % (nodes - 2))) turn=$((turn + 1))
  [ $((turn % 4)) -lt 2 ] && signal=TERM || signal=KILL
  kill -$signal "${pids[node-$seat]}"
  wait "${pids[node-$seat]}" 2>/dev/null || true
  validator $seat
  if [ -n "${pids[comes]:-}" ]; then
    kill "${pids[comes]}"
    wait "${pids[comes]}" 2>/dev/null || true
    unset "pids[comes]"
  else
    observer comes 2
  fi
done

touch "$dir/stop"
for name in "${!pids[@]}"; do
  kill "${pids[$name]}"
  wait "${pids[$name]}" || ended "$name"
  unset "pids[$name]"
done
settled=$(wc -l <"$dir/settled")
echo "$((settled * 32)) transfers of $settled clients settled in $span s, $turn restarts"
for data in "$chain"/node-*/data "$dir/stays"; do
  "$throng" verify "$data" >"$dir/verify.log" 2>&1 || { tail -n 1 "$dir/verify.log" >&2; exit 1; }
done

sort -t, -k2,2 -k1,1n "$dir/samples.csv" | awk -F, -v begin="$begin" -v span="$span" -v slack="$slack" '
  function median(list, count,    i, j, swap) {
    for (i = 2; i <= count; i++) {
      swap = list[i]
      for (j = i - 1; j > 0 && list[j] > swap; j--) list[j + 1] = list[j]
      list[j + 1] = swap
    }
    return list[int((count + 1) / 2)]
  }
  # The lowest (-1) or highest (1) of the medians that the lives of a node had in a third.
  function extreme(third, field, sign,    life, i, list, found, none) {
    none = 1
    for (life = 1; life <= lives; life++) {
      if (counts[third, life] == 0) continue
      for (i = 1; i <= counts[third, life]; i++) list[i] = values[third, life, field, i]
      i = median(list, counts[third, life])
      if (none || sign * i > sign * found) found = i
      none = 0
    }
    return none ? -1 : found
  }
  function judge() {
    for (field = 4; field <= 6; field++) {
      first[field] = extreme(1, field, 1); last[field] = extreme(3, field, -1)
      if (first[field] < 0 || last[field] < 0) return
    }
    grown = ""
    if (last[4] > first[4] * 1.1 + slack * 1024) grown = grown " anonymous"
    if (last[5] > first[5] * 1.25 + 32 * 1024) grown = grown " resident"
    if (last[6] > first[6] + 8) grown = grown " descriptors"
    if (grown) grows = 1
    judged++
    printf "%-8s anonymous %6.1f to %6.1f MB, resident %6.1f to %6.1f MB, descriptors %3d to %3d%s\n", name,
      first[4] / 1024, last[4] / 1024, first[5] / 1024, last[5] / 1024, first[6], last[6], grown ? ": grows in" grown : ""
  }
  $2 != name { if (name) judge(); name = $2; delete counts; lives = 1; age = 0 }
  $3 < age { lives++ }
  { age = $3 }
  $3 * 30 >= span {
    third = int(3 * ($1 - begin - span / 5) / (span * 4 / 5)) + 1
    if ($1 - begin < span / 5 || third > 3) next
    at = ++counts[third, lives]
    for (field = 4; field <= 6; field++) values[third, lives, field, at] = $field
  }
  END {
    if (name) judge()
    if (judged < 3) { print "soak: too few samples to judge by"; exit 1 }
    print grows ? "grows" : "flat"
    exit grows
  }'
