#!/usr/bin/env bash
# Fetches official data and models: checked, unpacked, in the layout that rxf prepare takes.
#   scripts/download.sh [--dry-run] NAME [DIR]
# Without NAME it lists what there is.  DIR is ./data unless given; as RXF_DATA it then serves the
# recipes.  A call that was stopped goes on where it was; one that is done does nothing.
# RXF_DOWNLOADS=FOLDER    files that were fetched by hand, or before, are taken from there (or DIR)
# RXF_MIRROR=ADDRESS      https://HOST/PATH is asked for as ADDRESS/HOST/PATH
# Needs bash, curl, sha256sum, tar, and unzip or python3 (cnn_dm and scitldr: python3).
set -euo pipefail
shopt -s nullglob dotglob
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
table=$here/downloads.txt

fail() { echo "download: error: $*" >&2; exit 1; }
say() { echo "download: $*" >&2; }

# ------------------------------------------------------------------------- the table

# rows NAME: its lines; NAME is a file's name or a group's.
rows() { awk -v name="$1" '!/^#/ && NF && (name == $1 || name == $2)' "$table"; }

# read_row LINE: sets what the row says.
read_row() {
  read -r group name folder address bytes sha256 proofs <<<"$1"
  by_hand=no
  [[ $address != by-hand:* ]] || by_hand=yes
  address=${address#by-hand:}
  file=${address##*[/#]}
  address=${address%%#*}
  into=$dir/$folder
  is_archive=no
  [[ $file != *.zip && $file != *.tar.gz && $file != *.tgz ]] || is_archive=yes
  # Where the file itself stays.
  kept=$into/$file
  [[ $is_archive$by_hand == nono ]] || kept=$dir/$file
  from=$address
  [[ -z ${RXF_MIRROR-} ]] || from=${RXF_MIRROR%/}/${address#*://}
}

size() {
  [[ $1 == - ]] && echo "size unknown" && return
  awk -v n="$1" 'BEGIN { if (n < 1e6) printf "%.0f kB", n / 1e3; else printf "%.0f MB", n / 1e6 }'
}

list() {
  local name group bytes
  echo "scripts/download.sh [--dry-run] NAME [DIR]; NAME is one of these, or glue for all of GLUE:"
  awk '!/^#/ && NF { print $1, $2 }' "$table" | uniq | while read -r group name; do
    bytes=$(rows "$name" | awk -v name="$name" '
      $2 == name { if ($5 == "-") unknown = 1; n += $5 } END { print unknown ? "-" : n }')
    printf '  %-18s %s\n' "$name" "$(size "$bytes")"
  done
}

# ------------------------------------------------------------------------- one file

# is_there: all that the row promises is in place.
is_there() {
  local proof
  for proof in ${proofs//,/ }; do
    [[ $proof != - ]] || proof=$file
    [[ -e $into/$proof ]] || return 1
  done
}

# is_done NAME: so is all of NAME; where something is made of its files, that alone counts.
is_done() {
  local folder_of_made files file line
  read -r folder_of_made files <<<"$(made "$1")"
  for file in $files; do
    [[ -f $dir/$folder_of_made/$file ]] || return 1
  done
  [[ -z $files ]] || return 0
  while read -r line; do
    read_row "$line"
    is_there || return 1
  done < <(rows "$1")
}

# found: a copy that somebody put there, if any.
found() {
  local path
  for path in "$kept" ${RXF_DOWNLOADS:+"$RXF_DOWNLOADS/$folder/$file"}; do
    [[ ! -f $path ]] || { echo "$path"; return; }
  done
  # Names such as dict.txt stand for many files, so only below a folder of their own.
  [[ $is_archive == yes || $by_hand == yes ]] || return 0
  path=${RXF_DOWNLOADS:+$RXF_DOWNLOADS/$file}
  [[ ! -f $path ]] || echo "$path"
}

bytes_of() { [[ -f $1 ]] && wc -c <"$1" || echo 0; }

# why CODE HTTP: what curl's exit status means.
why() {
  case $1 in
    5 | 6) echo "its host is not known here: is there a network?" ;;
    7) echo "no connection" ;;
    18 | 52 | 56) echo "the connection broke" ;;
    22) echo "HTTP $2" ;;
    23) echo "cannot write: is the disk full?" ;;
    28) echo "no answer in time" ;;
    35 | 60) echo "no secure connection" ;;
    *) echo "curl ended with $1" ;;
  esac
}

# by_hand_text: where a person puts the file.
by_hand_text() { echo "fetch $address by hand as $kept, then run this again"; }

# fetch PART: goes on with what is in PART; a connection that breaks is taken up again as long as
# each attempt brings something.
fetch() {
  local part=$1 before code http
  local flags=(--silent --fail --location --connect-timeout 20 --speed-limit 1 --speed-time 60)
  [[ ! -t 2 ]] || flags=("${flags[@]/--silent/--progress-bar}")
  while true; do
    before=$(bytes_of "$part")
    [[ $before != "$bytes" ]] || return 0
    code=0
    http=$(curl "${flags[@]}" --continue-at - --output "$part" --write-out '%{http_code}' "$from") \
      || code=$?
    # 416: there is nothing behind what we have.
    [[ $code != 0 && $code:$http != 22:416 ]] || return 0
    # 33: this server does not send parts.
    [[ $code == 33 ]] || (($(bytes_of "$part") > before)) || break
    [[ $code != 33 ]] || rm -f "$part"
  done
  [[ -s $part ]] || rm -f "$part"
  fail "$from: $(why "$code" "$http"): $(by_hand_text)"
}

# check PATH: it is the published file, or the one that was there before.
check() {
  local sum noted
  sum=$(sha256sum <"$1")
  sum=${sum%% *}
  if [[ $sha256 != - ]]; then
    [[ $sum == "$sha256" ]] || refuse "$1" "its sha256 is $sum and the published one $sha256"
  elif [[ -f $dir/$file.sha256 ]]; then
    noted=$(cut -d' ' -f1 "$dir/$file.sha256")
    [[ $sum == "$noted" ]] || refuse "$1" \
      "its sha256 is $sum and was $noted before; delete $dir/$file.sha256 to take the new one"
  fi
  [[ $is_archive == no ]] || check_names "$1"
  if [[ $sha256 == - && ! -f $dir/$file.sha256 ]]; then
    say "$file: no published checksum; sha256 $sum, kept in $dir/$file.sha256"
    echo "$sum  $file" >"$dir/$file.sha256"
  fi
}

# refuse PATH REASON: ours is removed, somebody else's is left alone.
refuse() {
  if [[ $1 == "$kept.part" ]]; then
    rm -f "$1"
    fail "$from: $2: it was removed; run this again"
  fi
  fail "$1: $2: move it away"
}

# ------------------------------------------------------------------------- archives

# check_names ARCHIVE: it can be read to its end, and nothing in it would leave the folder.
check_names() {
  local names kinds bad
  if [[ $file == *.zip ]]; then
    names=$(zip_names "$1") || refuse "$1" "it is cut short or damaged"
  else
    names=$(tar -tzf "$1" 2>/dev/null) || refuse "$1" "it is cut short or damaged"
    kinds=$(tar -tvzf "$1" | grep -m1 '^[^-d]' || true)
    [[ -z $kinds ]] || refuse "$1" "it holds a link or a device (${kinds##* })"
  fi
  bad=$(grep -m1 -E '^/|^[A-Za-z]:|\\|(^|/)\.\.(/|$)' <<<"$names" || true)
  [[ -z $bad ]] || refuse "$1" "it holds $bad, which leads out of its folder"
}

zip_names() {
  if command -v unzip >/dev/null; then
    unzip -tqq "$1" >/dev/null 2>&1 && unzip -Z1 "$1"
  else
    need python3
    python3 -c 'import sys, zipfile
archive = zipfile.ZipFile(sys.argv[1])
sys.exit(1) if archive.testzip() else print("\n".join(archive.namelist()))' "$1" 2>/dev/null
  fi
}

# unpack ARCHIVE: into a folder aside, which takes its place when it is whole.
unpack() {
  local aside=$into.unpacking entries
  rm -rf "$aside"
  mkdir -p "$aside"
  if [[ $file != *.zip ]]; then
    tar -xzf "$1" -C "$aside" --no-same-owner --no-same-permissions
  elif command -v unzip >/dev/null; then
    unzip -qq "$1" -d "$aside"
  else
    python3 -m zipfile -e "$1" "$aside"
  fi
  rm -rf "$aside/__MACOSX"
  [[ -z $(find "$aside" ! -type f ! -type d) ]] || refuse "$1" "it holds links"
  entries=("$aside"/*)
  [[ ${#entries[@]} != 1 || ! -d ${entries[0]} || -e $aside/${proofs%%,*} ]] || put "${entries[0]}"
  [[ ! -d $aside ]] || put "$aside"
  rm -rf "$aside"
  is_there || fail "$1: has not all of ${proofs//,/, }: it is no $name as published"
}

# put FOLDER: its content goes to where it belongs, beside what is there.
put() {
  local entry
  if [[ ! -e $into ]]; then
    mv "$1" "$into"
    return
  fi
  for entry in "$1"/*; do
    rm -rf "${into:?}/${entry##*/}"
    mv "$entry" "$into/"
  done
  rmdir "$1"
}

# ------------------------------------------------------------------------- one row

need() { command -v "$1" >/dev/null || fail "$1 is not installed, and $name needs it"; }

get() {
  local path
  if is_there; then
    return
  fi
  path=$(found)
  if [[ -n $path ]]; then
    say "$file: taken from $path"
    check "$path"
  elif [[ $by_hand == yes ]]; then
    fail "$name: its address serves no script: $(by_hand_text)"
  else
    need curl
    say "$from ($(size "$bytes"))"
    mkdir -p "${kept%/*}"
    fetch "$kept.part"
    check "$kept.part"
    mv "$kept.part" "$kept"
    path=$kept
  fi
  if [[ $is_archive == yes ]]; then
    unpack "$path"
  elif [[ $path != "$into/$file" ]]; then
    mkdir -p "$into"
    cp "$path" "$into/$file.part"
    mv "$into/$file.part" "$into/$file"
  fi
}

# ------------------------------------------------------------------------- made of what was fetched

# make_all FOLDER COMMAND: COMMAND writes into a folder aside, whose files then go to FOLDER.
make_all() {
  local folder=$1 path
  shift
  rm -rf "$folder/.making"
  mkdir -p "$folder/.making"
  "$@" "$folder/original" "$folder/.making"
  for path in "$folder/.making"/*; do
    mv "$path" "$folder/"
  done
  rmdir "$folder/.making"
}

# made NAME: the folder and the files that rxf prepare takes, where those of the table are not.
made() {
  case $1 in
    MRPC) echo glue/MRPC train.tsv dev.tsv test.tsv ;;
    cnn_dm) echo cnn_dm {train,val,test}.{source,target} ;;
    gigaword | scitldr) echo "$1" {train,dev,test}.{source,target} ;;
  esac
}

make_files() {
  case $1 in
    MRPC) make_all "$dir/glue/MRPC" split_mrpc ;;
    gigaword) make_all "$dir/gigaword" rename_gigaword ;;
    cnn_dm | scitldr)
      need python3
      make_all "$dir/$1" python3 "$here/download_text.py" "$1"
      ;;
  esac
}

# split_mrpc FROM TO: train and dev by the list of dev's pairs, as GLUE has them; the test rows
# with a number in place of the label.
split_mrpc() {
  LC_ALL=C awk -F'\t' -v to="$2" '
    { sub(/\r$/, ""); sub(/^\xef\xbb\xbf/, "") }
    NR == FNR { dev[$1 FS $2]; next }
    FNR == 1 { print > (to "/train.tsv"); print > (to "/dev.tsv"); next }
    { print > (to (($2 FS $3) in dev ? "/dev.tsv" : "/train.tsv")) }
  ' "$1/mrpc_dev_ids.tsv" "$1/msr_paraphrase_train.txt"
  LC_ALL=C awk -F'\t' -v OFS='\t' '
    { sub(/\r$/, "") }
    NR == 1 { print "index", "#1 ID", "#2 ID", "#1 String", "#2 String"; next }
    { print NR - 2, $2, $3, $4, $5 }
  ' "$1/msr_paraphrase_test.txt" >"$2/test.tsv"
}

# rename_gigaword FROM TO: the unknown word is called UNK in test, so it is in train and dev too.
rename_gigaword() {
  local split
  for split in train dev test; do
    sed 's/<unk>/UNK/g' "$1/$split.src.txt" >"$2/$split.source"
    sed 's/<unk>/UNK/g' "$1/$split.tgt.txt" >"$2/$split.target"
  done
}

# ------------------------------------------------------------------------- the command

dry_run=no
if [[ ${1-} == --dry-run ]]; then
  dry_run=yes
  shift
fi
case ${1-} in
  '') list; exit 0 ;;
  -h | --help) sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; list; exit 0 ;;
  -*) fail "unknown argument $1 (known: --dry-run)" ;;
esac
(($# <= 2)) || fail "$3: one NAME and one DIR at most"
wanted=$1
dir=${2:-data}
dir=${dir%/}
mapfile -t lines < <(rows "$wanted")
((${#lines[@]})) || fail "$wanted is not known: scripts/download.sh without arguments lists the names"

if [[ $dry_run == yes ]]; then
  for line in "${lines[@]}"; do
    read_row "$line"
    target=$into
    [[ $is_archive == yes ]] || target=$into/$file
    note=
    [[ $by_hand == no ]] || note='	by hand'
    ! is_there || note='	is there'
    echo "$from	$(size "$bytes")	$target$note"
  done
  exit 0
fi

is_held=no
prepare_dir() {
  [[ $is_held == no ]] || return 0
  is_held=yes
  mkdir -p "$dir" 2>/dev/null && [[ -w $dir ]] ||
    fail "DIR $dir: cannot be written to: name another"
  command -v flock >/dev/null || return 0
  exec 9>"$dir/.download.lock"
  flock -n 9 || fail "DIR $dir: another download is at work there: wait until it is done"
}

# home: the folder to name to a person.
home() { cut -d/ -f1-"$([[ $group == glue ]] && echo 2 || echo 1)" <<<"$folder"; }

mapfile -t names < <(printf '%s\n' "${lines[@]}" | awk '{ print $2 }' | uniq)
for one in "${names[@]}"; do
  state="is there"
  if ! is_done "$one"; then
    state="fetched"
    prepare_dir
    for line in "${lines[@]}"; do
      read_row "$line"
      [[ $name != "$one" ]] || get
    done
    make_files "$one"
  fi
  read_row "$(rows "$one" | tail -n 1)"
  echo "$one: $dir/$(home) $state"
done
