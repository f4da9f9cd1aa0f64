#compdef isthmusctl

_arguments -C \
    '--socket[path of the control socket]:socket:_files' \
    '--timeout[seconds to wait]:seconds:' \
    '--json[the answer as it is]' \
    '--help[how to use it]' \
    '1:command:((
        status\:"version, workers, uptime, state"
        reload\:"read the configuration again"
        check\:"is this configuration right"
        stats\:"counters"
        conns\:"connections of clients"
        listeners\:"do they listen or drain"
        clusters\:"clusters and their endpoints"
        certs\:"certificates"
        config\:"the configuration in force"
        neighbors\:"link-layer addresses of next hops"
        addresses\:"addresses of ours, and are they in use"
        routes\:"routes and their next hops"
        punt\:"what the kernel is given"
        reopen\:"open the access logs again"
        drain\:"no new connections"
        stop\:"drain, then end the daemon"
        log\:"set the log level"
        help\:"how to use it"))' \
    '*::argument:->argument'

case $state in
argument)
    case $words[1] in
    check) _files ;;
    stats) _values 'option' --prometheus ;;
    log) _values 'level' error warning info debug ;;
    esac ;;
esac
