#!/usr/bin/env bash
# Records what real tools print into a pipe, one file for each: NAME.out, and its tool's version in versions.txt.
#
#     crates/cli/tests/recordings/record.sh [NAME…]
#
# Needs the tools themselves; one that is not installed is left out and says so. Each recording is a pipe's view: what
# `milepost run` sees. Network: loopback only, and the package registries for pip, npm and git-less clones.
set -u
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
python=${PYTHON:-python3}
trap 'kill $server 2>/dev/null; rm -rf "$work"' EXIT
cd "$work" || exit 1
wanted=" $* "

# record NAME VERSION_COMMAND SHELL_LINE
record() {
    local name=$1 version=$2 line=$3
    [ "$wanted" = "  " ] || [[ $wanted == *" $name "* ]] || return 0
    local tool=${line%% *}
    rm -rf "$work/run"; mkdir "$work/run"
    ( cd "$work/run" && timeout 60 bash -c "$line" ) >"$work/out" 2>&1 </dev/null
    if [ ! -s "$work/out" ]; then echo "$name: nothing recorded ($tool)"; return 0; fi
    sed -e "s#$work#/tmp/rec#g" "$work/out" | grep -av "^Looking in \(links\|indexes\):" | head -c 12000 >"$here/$name.out"
    grep -v "^$name " "$here/versions.txt" 2>/dev/null >"$work/versions" || true
    echo "$name $(bash -c "$version" 2>&1 | head -n 1 | tr -s ' ')" >>"$work/versions"
    sort "$work/versions" >"$here/versions.txt"
}

head -c 60000000 /dev/urandom >big
mkdir many; for n in $(seq 31); do head -c $((n * 20000)) /dev/urandom >many/file-$n; done
cat >serve.py <<'PY'
import http.server, os, sys, time
class Slow(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.0"
    def copyfile(self, source, out):
        while piece := source.read(262144):
            out.write(piece); time.sleep(0.02)
    def do_GET(self):
        if self.path.endswith("/nolength"):
            self.send_response(200); self.end_headers()
            for _ in range(40): self.wfile.write(b"x" * 100000); time.sleep(0.05)
        else: super().do_GET()
    def log_message(self, *a): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow)
print(server.server_port, flush=True); server.serve_forever()
PY
ffmpeg -v error -f lavfi -i testsrc2=duration=20:size=640x360:rate=30 clip.mp4 2>/dev/null
$python serve.py >port 2>/dev/null & server=$!
sleep 1; url=http://127.0.0.1:$(cat port)

# Copying and downloading.
record rsync-progress "rsync --version" "rsync -r --progress --bwlimit=9000 --outbuf=L $work/many/ dest/"
record rsync-progress2 "rsync --version" "rsync -r --info=progress2 --bwlimit=9000 --outbuf=L $work/many/ dest/"
record rsync-progress2-human "rsync --version" "rsync -rh --info=progress2 --no-inc-recursive --bwlimit=9000 --outbuf=L $work/many/ dest/"
record rsync-one "rsync --version" "rsync --progress --bwlimit=30000 --outbuf=L $work/big dest"
record curl "curl --version" "curl -o out $url/big"
record curl-hash "curl --version" "curl -# -o out $url/big"
record curl-parallel "curl --version" "curl -Z -o a $url/big -o b $url/many/file-31 -o c $url/many/file-30"
record curl-unknown "curl --version" "curl -o out $url/nolength"
record wget "wget --version" "wget -O out $url/big"
record wget-bar "wget --version" "wget --progress=bar:force -O out $url/big"
record aria2 "aria2c --version" "aria2c --summary-interval=1 -o out $url/big"
record aria2-console "aria2c --version" "aria2c --show-console-readout=true --enable-color=false -Z $url/big $url/many/file-31"
record axel "axel --version" "axel -n 2 -o out $url/big"
record pv "pv --version" "pv -f -L 20M $work/big >/dev/null"
record pv-numeric "pv --version" "pv -n -i 0.3 -L 20M $work/big >/dev/null"
record pv-unknown "pv --version" "cat $work/big | pv -f -L 30M >/dev/null"
record dd "dd --version" "dd if=$work/big of=out bs=64k status=progress; sleep 0"
record dd-slow "dd --version" "pv -q -L 15M $work/big | dd of=out bs=64k status=progress"
record ddrescue "ddrescue --version" "ddrescue -v $work/big out map"
record rclone "rclone version" "rclone copy -P --stats 200ms --bwlimit 20M $work/big dest/"
record rclone-log "rclone version" "rclone copy -v --stats 500ms --stats-one-line --bwlimit 20M $work/big dest/"
record yt-dlp "$python -m yt_dlp --version" "$python -m yt_dlp --newline -r 30M -o 'x.%(ext)s' $url/clip.mp4"
record yt-dlp-in-place "$python -m yt_dlp --version" "$python -m yt_dlp -r 30M -o 'x.%(ext)s' $url/clip.mp4"

# A video and an audio, as most sites have them: a manifest names both.
mkdir -p dash && ffmpeg -v error -f lavfi -i testsrc2=duration=20:size=640x360:rate=30 -f lavfi -i sine=duration=20 -f dash dash/x.mpd 2>/dev/null
record yt-dlp-parts "$python -m yt_dlp --version" "$python -m yt_dlp --newline -r 300K -o 'x.%(ext)s' $url/dash/x.mpd"

# Backups, archives and checksums.
record restic-json "restic version" "export RESTIC_PASSWORD=x; restic -q -r repo init; RESTIC_PROGRESS_FPS=5 restic -r repo backup --json --limit-upload 20000 $work/big $work/many"
record restic "restic version" "export RESTIC_PASSWORD=x; restic -q -r repo init; RESTIC_PROGRESS_FPS=5 restic -r repo backup $work/big $work/many"
record borg "borg --version" "export BORG_PASSPHRASE=x; borg init -e none repo; borg create --progress repo::a $work/big $work/many"
record borg-json "borg --version" "export BORG_PASSPHRASE=x; borg init -e none repo; borg create --progress --log-json repo::a $work/big $work/many"
record zstd "zstd --version" "zstd --progress -19 -T1 $work/big -o out.zst"
record xz "xz --version" "head -c 8000000 $work/big >b; xz -v -3 b"
record rhash "rhash --version" "rhash -P --sha256 $work/big"
record flac "flac --version" "sox -n a.wav synth 400 sine 440; flac a.wav"
record lame "lame --version" "sox -n a.wav synth 120 sine 440; lame a.wav"
record oggenc "oggenc --version" "sox -n -b 16 a.wav synth 120 sine 440; oggenc a.wav"
record opusenc "opusenc --version" "sox -n -b 16 a.wav synth 120 sine 440; opusenc a.wav a.opus"
record sox "sox --version" "sox -n a.wav synth 300 sine 440; sox -S a.wav b.flac rate 22050"
record x264 "x264 --version" "ffmpeg -v error -f lavfi -i testsrc2=duration=10:size=640x360:rate=30 -pix_fmt yuv420p a.y4m; x264 --demuxer y4m -o a.264 a.y4m"

# Builds, tests and packages.
record git-clone "git --version" "git init -q s; cd s; cp -r $work/many .; git add .; git -c user.name=a -c user.email=a@b commit -qm a; cd ..; git clone --progress file://\$PWD/s t"
record git-fsck "git --version" "git init -q s; cd s; cp -r $work/many .; git add .; git -c user.name=a -c user.email=a@b commit -qm a; git fsck --progress; git gc --no-quiet 2>&1; git repack -a -d -f --progress 2>/dev/null; true"
record ninja "ninja --version" "for n in 1 2 3 4 5 6; do echo \"int f\$n(void){return \$n;}\" >f\$n.c; done; printf 'rule cc\n  command = cc -c \$in -o \$out\n  description = Compiling \$in\n' >build.ninja; for n in 1 2 3 4 5 6; do echo \"build f\$n.o: cc f\$n.c\"; done >>build.ninja; ninja -v; rm *.o; ninja"
record cmake "cmake --version" "for n in 1 2 3 4; do echo \"int f\$n(void){return \$n;}\" >f\$n.c; done; printf 'cmake_minimum_required(VERSION 3.10)\nproject(x C)\nadd_library(x f1.c f2.c f3.c f4.c)\n' >CMakeLists.txt; cmake . >/dev/null; make"
record pytest "$python -m pytest --version" "for n in 1 2 3 4 5; do printf 'import pytest\n@pytest.mark.parametrize(\"n\", range(20))\ndef test_a(n): pass\n' >test_\$n.py; done; $python -m pytest"
record pytest-verbose "$python -m pytest --version" "printf 'import pytest\n@pytest.mark.parametrize(\"n\", range(8))\ndef test_a(n): pass\n' >test_1.py; $python -m pytest -v"
record coverage "$python -m coverage --version" "for n in 1 2 3; do printf 'def f(x):\n    if x == %d:\n        return 1\n    return 2\n' \$n >step_\$n.py; done; printf 'import step_1, step_2, step_3\nfor n in (1, 2): step_1.f(n)\nstep_2.f(3)\n' >m.py; $python -m coverage run m.py; $python -m coverage report"
record pip "$python -m pip --version" "$python -m pip download --no-deps --no-cache-dir numpy"
record cargo "cargo --version" "cargo init -q --name x .; CARGO_TERM_PROGRESS_WHEN=always CARGO_TERM_PROGRESS_WIDTH=80 cargo build --offline"
record podman-build "podman --version" "mkdir c; cp $(command -v busybox) c/sh; printf 'FROM scratch\nCOPY sh /bin/sh\nRUN sleep 1\nRUN for n in 1 2 3; do echo \"compiling \$n\"; sleep 1; done\nRUN sleep 1\n' >c/Containerfile; STORAGE_DRIVER=vfs podman build --no-cache --isolation=chroot --ulimit nofile=1024:1024 c"
record apt "apt-get --version" "apt-get install -y -q --reinstall hostname"

# Progress bars of Python's libraries.
record tqdm "$python -m tqdm --version" "$python -c 'from tqdm import tqdm; import time
for _ in tqdm(range(60), desc=\"epoch 1\"): time.sleep(.02)'"
record tqdm-nested "$python -m tqdm --version" "$python -c 'from tqdm import tqdm; import time
for _ in tqdm(range(4), desc=\"outer\"):
  for _ in tqdm(range(20), desc=\"inner\", leave=False): time.sleep(.01)'"
record tqdm-parallel "$python -m tqdm --version" "$python -c 'from tqdm import tqdm; import time
bars = [tqdm(total=(n+1)*1000000, unit=\"B\", unit_scale=True, desc=f\"part-{n}.bin\", position=n, mininterval=0) for n in range(5)]
for _ in range(20):
  for n, bar in enumerate(bars): bar.update((n+1)*50000); time.sleep(.005)
[b.close() for b in bars]'"
record tqdm-bytes-unknown "$python -m tqdm --version" "$python -c 'from tqdm import tqdm; import time
with tqdm(unit=\"B\", unit_scale=True) as b:
  for _ in range(40): b.update(100000); time.sleep(.05)'"
record rich "$python -c 'import importlib.metadata as m; print(m.version(\"rich\"))'" "$python -c 'from rich.progress import track; import time
for _ in track(range(30)): time.sleep(.02)'"
record progressbar2 "$python -c 'import importlib.metadata as m; print(m.version(\"progressbar2\"))'" "$python -c 'import progressbar, time
for _ in progressbar.progressbar(range(40), is_terminal=True): time.sleep(.02)'"
record alive-progress "$python -c 'import importlib.metadata as m; print(m.version(\"alive-progress\"))'" "$python -c 'from alive_progress import alive_bar; import time
with alive_bar(40, force_tty=True) as bar:
  for _ in range(40): time.sleep(.03); bar()'"
record ffmpeg-shell "ffmpeg -version" "ffmpeg -v error -f lavfi -i testsrc2=duration=6:size=640x360:rate=30 a.mp4; ffmpeg -y -re -i a.mp4 -f null - "
record ffmpeg-concat "ffmpeg -version" "for n in 1 2; do ffmpeg -v error -f lavfi -i testsrc2=duration=2:size=320x180:rate=30 \$n.mp4; echo \"file \$n.mp4\" >>list; done; ffmpeg -y -re -f concat -i list -f null -"
record fio "fio --version" "fio --name=x --size=40M --rw=write --rate=20M --eta=always --eta-newline=500ms --status-interval=1"
record shred "shred --version" "cp $work/big b; shred -v -n 1 b"
