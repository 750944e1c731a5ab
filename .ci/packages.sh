# Sourced by run.sh and .ci/run: the packages that a build needs, and how to get them. Defines functions only.

BUILD_PACKAGES="clang libclang-dev lld make g++ pkg-config"

missing_build_packages() {
    local missing="" package
    for package in $BUILD_PACKAGES; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $package"
    done
    echo "$missing"
}

# Installs what is missing, or names the command where this user may not.
install_build_packages() {
    local missing
    command -v dpkg-query >/dev/null || return 0
    missing=$(missing_build_packages)
    [ -z "$missing" ] && return 0
    if [ "$(id -u)" = 0 ]; then
        echo "installing$missing"
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $missing >/dev/null
    else
        echo "Packages are missing. Install them, then start again:" >&2
        echo "    sudo apt-get install -y$missing" >&2
        return 1
    fi
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
