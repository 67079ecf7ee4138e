#!/usr/bin/env bash
# Builds faiss-node from its npm source against the system's faiss and BLAS, where its prebuilt binary cannot be fetched.
#   apt-get install g++ libfaiss-dev libopenblas-dev        (Debian, Ubuntu; 13 MB to fetch)
#   infra/faiss/build.sh [FOLDER]                           (default: node_modules/faiss-node; after `npm ci`)
# Sources come from the npm registry, in the versions and with the hashes of package-lock.json. Takes about 10 seconds.
set -euo pipefail
root="$(cd "$(dirname "$0")/../.." && pwd)"
target="${1:-$root/node_modules/faiss-node}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

fail() {
  echo "$1" >&2
  exit 1
}
command -v g++ > /dev/null || fail 'Expected a C++ compiler, found none: apt-get install g++'
index_header="$(echo '#include <faiss/Index.h>' | g++ -E -x c++ - 2> /dev/null | sed -n 's/^# [0-9]* "\(.*faiss\/Index\.h\)".*/\1/p' | head -n 1 || true)"
[ -n "$index_header" ] || fail 'Expected the headers of faiss, found none: apt-get install libfaiss-dev libopenblas-dev'
node_headers="$(node -p 'path.join(process.env.npm_config_nodedir ?? path.resolve(process.execPath, "../.."), "include/node")')"
[ -f "$node_headers/node_api.h" ] || fail "Expected the headers of Node at $node_headers: set npm_config_nodedir to the folder above include/"

# Prints `name tarball` of what is needed, each checked against the lock file.
fetch() {
  cd "$work"
  for name in faiss-node bindings file-uri-to-path node-addon-api; do
    local version
    version="$(node -p 'require(process.argv[1]).packages[`node_modules/${process.argv[2]}`].version' "$root/package-lock.json" "$name")"
    npm pack --silent "$name@$version" > /dev/null
    mkdir "$name"
    node -e '
      const [lock, name, tarball] = process.argv.slice(1);
      const { integrity } = require(lock).packages[`node_modules/${name}`];
      const found = `sha512-${require("node:crypto").createHash("sha512").update(require("node:fs").readFileSync(tarball)).digest("base64")}`;
      if (found !== integrity) throw new Error(`Expected ${tarball} to have the hash ${integrity}, got ${found}`);
    ' "$root/package-lock.json" "$name" "$work/$name-$version.tgz"
    tar -xzf "$name-$version.tgz" -C "$name" --strip-components 1
  done
}
(fetch)

# faiss::idx_t came with 1.7.4; before, the type is faiss::Index::idx_t.
if grep -q 'using idx_t = ' "$index_header"; then
  sed -i 's/^using idx_t = faiss::idx_t;/using idx_t = faiss::Index::idx_t;/' "$work/faiss-node/src/faiss.cc"
fi
binary="$work/faiss-node/build/Release/faiss-node.node"
mkdir -p "$(dirname "$binary")"
g++ -O2 -std=c++17 -fPIC -shared -fopenmp -DNAPI_VERSION=6 -DNODE_GYP_MODULE_NAME=faiss_node \
  -I"$node_headers" -I"$work/node-addon-api" "$work/faiss-node/src/faiss.cc" -o "$binary" -lfaiss -lopenblas
mkdir "$work/faiss-node/node_modules"
mv "$work/bindings" "$work/file-uri-to-path" "$work/faiss-node/node_modules/"
node -e 'new (require(process.argv[1]).IndexFlatL2)(2)' "$work/faiss-node"

rm -rf "$target"
mkdir -p "$(dirname "$target")"
mv "$work/faiss-node" "$target"
echo "faiss-node $(node -p 'require(process.argv[1]).version' "$target/package.json") in $target"
