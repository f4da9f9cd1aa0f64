# bash completion for isthmusctl

_isthmusctl() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} cmd= i
    local cmds="status perf reload check stats conns flights flight capture listeners clusters certs config neighbors addresses routes punt reopen drain stop log help"

    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        --socket | --timeout) ((i++)) ;;
        -*) ;;
        *) cmd=${COMP_WORDS[i]}; break ;;
        esac
    done
    case $prev in
    --socket) COMPREPLY=($(compgen -f -- "$cur")); return ;;
    --timeout) return ;;
    esac
    case $cmd in
    "") COMPREPLY=($(compgen -W "--socket --timeout --json --help $cmds" -- "$cur")) ;;
    check) COMPREPLY=($(compgen -f -- "$cur")) ;;
    conns) COMPREPLY=($(compgen -W "--verbose --upstream" -- "$cur")) ;;
    flight)
        case $prev in
        --pcapng) COMPREPLY=($(compgen -f -- "$cur")) ;;
        *) COMPREPLY=($(compgen -W "--pcapng" -- "$cur")) ;;
        esac ;;
    capture)
        case $prev in
        --direction) COMPREPLY=($(compgen -W "in out both" -- "$cur")) ;;
        --count | --seconds | --snaplen) ;;
        capture) COMPREPLY=($(compgen -W "any --count --seconds --snaplen --direction" -- "$cur")) ;;
        *) COMPREPLY=($(compgen -W "--count --seconds --snaplen --direction" -- "$cur") $(compgen -f -- "$cur")) ;;
        esac ;;
    stats) COMPREPLY=($(compgen -W "--prometheus" -- "$cur")) ;;
    log) COMPREPLY=($(compgen -W "error warning info debug" -- "$cur")) ;;
    esac
}

complete -F _isthmusctl isthmusctl
