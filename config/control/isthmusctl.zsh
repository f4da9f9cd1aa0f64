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
        conns\:"connections of clients, or to services"
        perf\:"what a request costs, by stage"
        flights\:"what the flight recorders hold"
        flight\:"one of them"
        capture\:"frames of a port"
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
    conns) _values 'option' --verbose --upstream ;;
    flight) _arguments '--pcapng[for Wireshark]:file:_files' '1:flight:' ;;
    capture) _arguments '--count[so many packets]:n:' '--seconds[so long]:seconds:' \
        '--snaplen[so much of each]:bytes:' '--direction[of them]:direction:(in out both)' \
        '1:port:(any)' '2:filter, as of pcap-filter(7):' '3:file:_files' ;;
    log) _values 'level' error warning info debug ;;
    esac ;;
esac
