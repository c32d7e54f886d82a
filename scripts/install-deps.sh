#!/usr/bin/env bash
# Installs the Debian packages that are missing, once. Without root it says which.
#
#   install-deps.sh          all
#   install-deps.sh build    those that a build needs, without the tests' programs
set -euo pipefail
cd "$(dirname "$0")/.."
packages=(
  build-essential cmake ninja-build git python3
  libgtest-dev libgmock-dev libbenchmark-dev
  libcli11-dev nlohmann-json3-dev libfmt-dev libexpected-dev libpcg-cpp-dev robin-map-dev
  protobuf-compiler libprotobuf-dev protobuf-compiler-grpc libgrpc++-dev
  libsimdjson-dev libcpp-httplib-dev libssl-dev libbrotli-dev pkg-config
  libyaml-cpp-dev libpugixml-dev libtbb-dev libeigen3-dev zlib1g-dev
)
[ "${1:-}" = build ] || packages+=(
  clang-19 clang-format-19 clang-tidy-19 libclang-rt-19-dev libfuzzer-19-dev
  valgrind chromium
  prometheus python3-yaml  # test/deploy: promtool, and a server that scrapes on loopback
)
missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
sudo=()
if [ "$(id -u)" -ne 0 ]; then
  if command -v sudo >/dev/null; then sudo=(sudo); else
    echo "These Debian packages are missing; install them as root: ${missing[*]}" >&2
    exit 2
  fi
fi
echo "Installing: ${missing[*]}" >&2
"${sudo[@]}" apt-get update -qq
DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq --no-install-recommends \
  "${missing[@]}" >/dev/null
# Debian's package also starts a service, on all addresses; only its programs are wanted here.
case " ${missing[*]} " in
  *" prometheus "*)
    if [ -d /run/systemd/system ]; then
      "${sudo[@]}" systemctl disable --now --quiet prometheus
    else
      "${sudo[@]}" rm -f /etc/systemd/system/multi-user.target.wants/prometheus.service
    fi ;;
esac
