"""Scripts for tab completion, which hold all words themselves: completing starts no Python.

What is completed: modes, flags, topics of help, configuration files, sections and keys of the
configuration, and the values of those that have a few; else names of files.
"""

from collections.abc import Iterable

from ufnrec_tf.cli.help import ALL, Pages
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.lookup import nearest
from ufnrec_tf.config import Option, configs_folder
from ufnrec_tf.method.policies import POLICIES

FILE_KEYS = ("data.titles", "training.warm_start")
"""Keys of the configuration whose value is a path."""


def completion_script(shell: str, pages: Pages) -> str:
    """Returns the script that a shell reads to complete the command line.

    Args:
        shell: A key of `SCRIPTS`.
        pages: Of help, which know modes, flags and keys.

    Raises:
        UserError: For another shell (exit code 2).
    """
    if shell not in SCRIPTS:
        raise UserError(
            f"--completion={shell}: must be one of {', '.join(SCRIPTS)}.{nearest(shell, SCRIPTS)}",
            exit_code=2,
        )
    words = {
        "FLAGS": [f"--{name}{'' if flag in (True, False) else '='}" for name, flag in _flags(pages)]
        + ["--config."],
        "SECTIONS": [f"--config.{section}." for section in pages.table],
        "KEYS": [f"--config.{key}=" for key, _ in _keys(pages)],
        "CONFIGS": [f"configs/{path.name}" for path in sorted(configs_folder().glob("*.py"))],
    }
    words["CONFIGS"] = [name for name in words["CONFIGS"] if name != "configs/base.py"]
    text = SCRIPTS[shell].replace("VALUES\n", _cases(shell, _values(pages)))
    for name, listed in words.items():
        text = text.replace(f"@{name}@", "\n".join(listed))
    return text.rstrip("\n")


def _flags(pages: Pages) -> list[tuple[str, object]]:
    return [(name, flag.default) for name, flag in pages.defined.items()]


def _keys(pages: Pages) -> Iterable[tuple[str, Option]]:
    for section, options in pages.table.items():
        for key, option in options.items():
            yield f"{section}.{key}", option


def _values(pages: Pages) -> dict[str, list[str]]:
    """Returns flag -> the words that it takes; none of them: it takes anything but a file."""
    values = {
        "--mode": list(pages.modes),
        "--completion": list(SCRIPTS),
        "--split": ["test", "validation"],
        "--help": [ALL, *pages.modes, *pages.table, *(key for key, _ in _keys(pages))],
    }
    for name, default in _flags(pages):
        if isinstance(default, int | float) and not isinstance(default, bool):
            values[f"--{name}"] = []
    for key, option in _keys(pages):
        words = list(option.choices)
        if isinstance(option.default, bool):
            words = ["true", "false"]
        if key == "memory.policy":
            words = list(POLICIES)
        if words or key not in FILE_KEYS:
            values[f"--config.{key}"] = words
    return values


def _cases(shell: str, values: dict[str, list[str]]) -> str:
    """Returns the branches of a shell's `case`: a flag, the words that it takes."""
    alike: dict[str, list[str]] = {}
    for name, words in values.items():
        alike.setdefault("\\n".join(words), []).append(name)
    lines = []
    for text, names in alike.items():
        if shell == "fish":
            lines.append(f"        case {' '.join(names)}\n            printf '{text}\\n'")
        else:
            lines.append(f"        {'|'.join(names)}) printf '{text}\\n' ;;")
    return "\n".join(lines) + "\n"


_BASH = r"""# Tab completion of ufnrec-tf for bash. In ~/.bashrc: eval "$(ufnrec --completion=bash)"
_ufnrec_values() {
    case $1 in
VALUES
        *) return 1 ;;
    esac
}

_ufnrec() {
    local IFS=$'\n' line=${COMP_LINE:0:COMP_POINT} current name value words before= i
    current=${line##*[[:space:]]}
    COMPREPLY=()
    if [[ $current == *=* ]]; then
        name=${current%%=*} value=${current#*=}
        # Where = ends a word, as it does unless it was taken out, bash replaces what follows it.
        [[ $COMP_WORDBREAKS == *=* ]] || before=$name=
        if words=$(_ufnrec_values "$name"); then
            COMPREPLY=($(compgen -W "$words" -- "$value"))
        else
            compopt -o filenames 2>/dev/null
            COMPREPLY=($(compgen -f -- "$value"))
            [[ $name == --config ]] && COMPREPLY+=($(compgen -W '@CONFIGS@' -- "$value"))
        fi
        for i in "${!COMPREPLY[@]}"; do COMPREPLY[i]=$before${COMPREPLY[i]}; done
        return
    fi
    compopt -o nospace 2>/dev/null
    case $current in
        --config.*.*) COMPREPLY=($(compgen -W '@KEYS@' -- "$current")) ;;
        --config.*) COMPREPLY=($(compgen -W '@SECTIONS@' -- "$current")) ;;
        *) COMPREPLY=($(compgen -W '@FLAGS@' -- "$current")) ;;
    esac
}

_ufnrec_python() {
    local script=${COMP_WORDS[1]}
    if ((COMP_CWORD > 1)) && [[ ${script##*/} == main.py ]] && grep -qs ufnrec_tf "$script"; then
        _ufnrec
    elif [[ -n $_ufnrec_before ]]; then
        "$_ufnrec_before" "$@"
    fi
}

if [[ $(complete -p python 2>/dev/null) =~ \ -F\ ([^ ]+) ]] &&
    [[ ${BASH_REMATCH[1]} != _ufnrec_python ]]; then
    _ufnrec_before=${BASH_REMATCH[1]}
fi
complete -F _ufnrec ufnrec
complete -o bashdefault -o default -F _ufnrec_python python python3
"""

_ZSH = r"""# Tab completion of ufnrec-tf for zsh. In ~/.zshrc: eval "$(ufnrec --completion=zsh)"
_ufnrec_values() {
    case $1 in
VALUES
        *) return 1 ;;
    esac
}

_ufnrec() {
    local known
    if [[ $PREFIX == *=* ]]; then
        local name=${PREFIX%%=*}
        compset -P 1 '*='
        if known=$(_ufnrec_values $name); then
            compadd -- ${(f)known}
        else
            [[ $name == --config ]] && compadd -- ${(f):-'@CONFIGS@'}
            _files
        fi
        return
    fi
    case $PREFIX in
        --config.*.*) known='@KEYS@' ;;
        --config.*) known='@SECTIONS@' ;;
        *) known='@FLAGS@' ;;
    esac
    compadd -S '' -- ${(f)known}
}

_ufnrec_python() {
    if ((CURRENT > 2)) && [[ ${words[2]:t} == main.py ]] && grep -qs ufnrec_tf ${words[2]}; then
        _ufnrec
    elif (($+functions[_python])); then
        _python
    else
        _files
    fi
}

(($+functions[compdef])) || { autoload -Uz compinit && compinit; }
compdef _ufnrec ufnrec
compdef _ufnrec_python python python3
"""

_FISH = r"""# Tab completion of ufnrec-tf for fish: ufnrec --completion=fish | source
function __ufnrec_values
    switch $argv[1]
VALUES
        case '*'
            return 1
    end
end

function __ufnrec
    set -l current (commandline -ct)
    if string match -q -- '*=*' $current
        set -l parts (string split -m 1 = -- $current)
        set -l known (__ufnrec_values $parts[1])
        if test $status -ne 0
            set known (__fish_complete_path $parts[2])
            if test $parts[1] = --config
                set -a known (string split \n '@CONFIGS@')
            end
        end
        for word in $known
            test -n "$word"; and echo $parts[1]=$word
        end
        return
    end
    switch $current
        case '--config.*.*'
            printf '%s\n' '@KEYS@'
        case '--config.*'
            printf '%s\n' '@SECTIONS@'
        case '*'
            printf '%s\n' '@FLAGS@'
    end
end

function __ufnrec_is_script
    set -l words (commandline -opc)
    test (count $words) -gt 1; and string match -q -r '(^|/)main\.py$' -- $words[2]
    and grep -qs ufnrec_tf $words[2]
end

complete -c ufnrec -f -a '(__ufnrec)'
for name in python python3
    complete -c $name -n __ufnrec_is_script -f -a '(__ufnrec)'
end
"""

SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
"""Shell -> its script; @WORDS@ and VALUES are filled in."""
