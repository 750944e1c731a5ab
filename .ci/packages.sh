# Sourced by run.sh and .ci/run: the packages that a build needs, those that the client flows need, and how to get them. Defines
# functions only.

BUILD_PACKAGES="clang libclang-dev lld make g++ pkg-config"

# The packages of this list that are not installed.
missing_packages() {
    local package
    for package in "$@"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || echo "$package"
    done
}

# Installs packages, or names the command where this user may not.
install_packages() {
    [ $# -gt 0 ] || return 0
    if [ "$(id -u)" = 0 ]; then
        echo "installing $*"
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null
    else
        echo "Packages are missing. Install them, then start again:" >&2
        echo "    sudo apt-get install -y $*" >&2
        return 1
    fi
}

# On another system than Debian and its relatives nothing is installed: the compiler says what it misses.
install_build_packages() {
    command -v dpkg-query >/dev/null || return 0
    install_packages $(missing_packages $BUILD_PACKAGES)
}

# What the tests and the client flows need, unless it is there, from wherever.
install_test_packages() {
    command -v dpkg-query >/dev/null || return 0
    local wanted=""
    [ -n "$(ls -d /usr/lib/postgresql/*/bin/postgres 2>/dev/null)" ] || command -v postgres >/dev/null || wanted="$wanted postgresql"
    command -v redis-server >/dev/null || wanted="$wanted redis-server"
    command -v haproxy >/dev/null || wanted="$wanted haproxy"
    command -v curl >/dev/null || wanted="$wanted curl"
    command -v npm >/dev/null || wanted="$wanted nodejs npm"
    command -v python3 >/dev/null || wanted="$wanted python3 python3-venv"
    install_packages $wanted
}

# Fails with the remedy where Rust is missing or older than the workspace asks for.
check_rust() {
    local wanted have
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    if ! command -v cargo >/dev/null; then
        echo "Rust is missing. Install it, then start again:" >&2
        echo "    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh" >&2
        return 1
    fi
    have=$(cargo --version 2>/dev/null | cut -d' ' -f2)
    if [ -z "$have" ] || [ "$(printf '%s\n%s\n' "$wanted" "$have" | sort -V | head -1)" != "$wanted" ]; then
        echo "Rust $wanted or newer is needed, this is ${have:-unusable}. Update it, then start again:" >&2
        echo "    rustup toolchain install 1.95.0 --profile minimal --component rustfmt,clippy" >&2
        return 1
    fi
}
