#!/bin/sh
# Remove from an environment what no command of zerodte-flow reads: deploy/slim.sh VENV
#
# Tests of other packages, headers and type stubs, the installers, Arrow's network protocol, and zstandard's
# second engine, which is PyPy's. The rest of the machine code is left as its authors built it: most of it is LLVM,
# which compiles the formulas (172 MB), Arrow (122), numpy (47) and pandas, which the calendar needs (38).
set -eu

[ -x "${1:?usage: $0 VENV}/bin/python" ] || { echo "$0: $1 is no environment" >&2; exit 2; }
packages=$("$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
cd "$packages"
before=$(du -sm . | cut -f1)

find . -type d \( -name tests -o -name test \) -prune -exec rm -rf {} +
find . -type f \( -name '*.pyi' -o -name '*.pxd' -o -name '*.pyx' -o -name '*.h' -o -name '*.hpp' -o -name '*.a' \) -delete
rm -rf pyarrow/include pyarrow/src
rm -f pyarrow/*flight* zstandard/_cffi*
rm -rf pip pip-* setuptools setuptools-* pkg_resources _distutils_hack distutils-precedence.pth wheel wheel-*
rm -f "$1"/bin/pip*
echo "$packages: $before MB, now $(du -sm . | cut -f1) MB"
