# What the scripts share: installing by name from Debian what is missing. Sourced, not run.

say() { printf '\n== %s\n' "$*"; }

# Runs a command as root: itself, by sudo, or not at all.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        sudo -n "$@"
    else
        return 127
    fi
}

# need PROGRAM PACKAGE ...: collects in $missing the packages whose program is not there.
missing=()
need() {
    while [ $# -gt 0 ]; do
        PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null || missing+=("$2")
        shift 2
    done
}

# Installs what `need` found missing; 1, with the line to type, when that cannot be done here.
install_missing() {
    [ ${#missing[@]} -eq 0 ] && return 0
    local install=(apt-get install -y --no-install-recommends "${missing[@]}")
    say "installing: ${missing[*]}"
    if ! command -v apt-get >/dev/null; then
        echo "There is no apt-get here. Please install: ${missing[*]}" >&2
        return 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    # The package lists may be there and good; only if not are they fetched.
    if as_root "${install[@]}" >/dev/null 2>&1 || { as_root apt-get update -q && as_root "${install[@]}"; }; then
        missing=()
        return 0
    fi
    echo "These are missing and could not be installed from here. As root:" >&2
    echo "    apt-get update && ${install[*]}" >&2
    return 1
}

need_cargo() {
    [ -d "$HOME/.cargo/bin" ] && PATH="$HOME/.cargo/bin:$PATH"
    if ! command -v cargo >/dev/null; then
        echo "cargo is missing: install Rust 1.95 or newer from https://rustup.rs" >&2
        return 1
    fi
}
