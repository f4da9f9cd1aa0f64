# bash completion for isthmusctl

_isthmusctl() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} cmd= i
    local cmds="status reload check stats conns listeners clusters certs config neighbors addresses routes punt reopen drain stop log help"

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
    stats) COMPREPLY=($(compgen -W "--prometheus" -- "$cur")) ;;
    log) COMPREPLY=($(compgen -W "error warning info debug" -- "$cur")) ;;
    esac
}

complete -F _isthmusctl isthmusctl
