# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_outlive_global_optspecs
    string join \n c/config= control= h/help V/version
end

function __fish_outlive_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_outlive_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_outlive_using_subcommand
    set -l cmd (__fish_outlive_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c outlive -n "__fish_outlive_needs_command" -s c -l config -d 'Configuration file, instead of /etc/outlive/outlive.toml' -r -F
complete -c outlive -n "__fish_outlive_needs_command" -l control -d 'Control socket of the service (of any that uses the library), instead of /run/outlive/control' -r -F
complete -c outlive -n "__fish_outlive_needs_command" -s h -l help -d 'Print help'
complete -c outlive -n "__fish_outlive_needs_command" -s V -l version -d 'Print version'
complete -c outlive -n "__fish_outlive_needs_command" -f -a "serve" -d 'Serve; this is what happens without a command'
complete -c outlive -n "__fish_outlive_needs_command" -f -a "check" -d 'Say whether the configuration can be served, and what is wrong with it'
complete -c outlive -n "__fish_outlive_needs_command" -f -a "status" -d 'Say how the service is'
complete -c outlive -n "__fish_outlive_needs_command" -f -a "reload" -d 'Let a new process take over, with the program and the configuration that are on disk now'
complete -c outlive -n "__fish_outlive_needs_command" -f -a "rehearse" -d 'Put load on an HTTP server while a command restarts it, and count what its clients lose'
complete -c outlive -n "__fish_outlive_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c outlive -n "__fish_outlive_using_subcommand serve" -s c -l config -d 'Configuration file, instead of /etc/outlive/outlive.toml' -r -F
complete -c outlive -n "__fish_outlive_using_subcommand serve" -l control -d 'Control socket of the service (of any that uses the library), instead of /run/outlive/control' -r -F
complete -c outlive -n "__fish_outlive_using_subcommand serve" -s h -l help -d 'Print help'
complete -c outlive -n "__fish_outlive_using_subcommand check" -s c -l config -d 'Configuration file, instead of /etc/outlive/outlive.toml' -r -F
complete -c outlive -n "__fish_outlive_using_subcommand check" -l control -d 'Control socket of the service (of any that uses the library), instead of /run/outlive/control' -r -F
complete -c outlive -n "__fish_outlive_using_subcommand check" -s h -l help -d 'Print help'
complete -c outlive -n "__fish_outlive_using_subcommand status" -s c -l config -d 'Configuration file, instead of /etc/outlive/outlive.toml' -r -F
complete -c outlive -n "__fish_outlive_using_subcommand status" -l control -d 'Control socket of the service (of any that uses the library), instead of /run/outlive/control' -r -F
complete -c outlive -n "__fish_outlive_using_subcommand status" -l json -d 'As JSON, for programs'
complete -c outlive -n "__fish_outlive_using_subcommand status" -s h -l help -d 'Print help'
complete -c outlive -n "__fish_outlive_using_subcommand reload" -s c -l config -d 'Configuration file, instead of /etc/outlive/outlive.toml' -r -F
complete -c outlive -n "__fish_outlive_using_subcommand reload" -l control -d 'Control socket of the service (of any that uses the library), instead of /run/outlive/control' -r -F
complete -c outlive -n "__fish_outlive_using_subcommand reload" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c outlive -n "__fish_outlive_using_subcommand rehearse" -l url -d 'What to ask for, `http://HOST[:PORT][/PATH]`' -r
complete -c outlive -n "__fish_outlive_using_subcommand rehearse" -l connections -d 'Busy clients: a kept-alive connection each, think times of 0-20 ms' -r
complete -c outlive -n "__fish_outlive_using_subcommand rehearse" -l fresh -d 'Fresh clients: each opens a new connection every --fresh-every, on a fixed schedule' -r
complete -c outlive -n "__fish_outlive_using_subcommand rehearse" -l fresh-every -d 'Time between a fresh client\'s connections' -r
complete -c outlive -n "__fish_outlive_using_subcommand rehearse" -l idle -d 'Idle clients: lie still through each round, then ask again on the same connection' -r
complete -c outlive -n "__fish_outlive_using_subcommand rehearse" -l half -d 'Half clients: send half a request head before the command and the rest after it' -r
complete -c outlive -n "__fish_outlive_using_subcommand rehearse" -l http2 -d 'HTTP/2 clients (cleartext, with prior knowledge): a connection each, think times as of busy ones' -r
complete -c outlive -n "__fish_outlive_using_subcommand rehearse" -l websocket -d 'WebSocket clients: send a running number, which must come back, at busy clients\' pace' -r
complete -c outlive -n "__fish_outlive_using_subcommand rehearse" -l websocket-url -d 'The WebSocket endpoint, which must echo, `ws://HOST[:PORT][/PATH]`' -r
complete -c outlive -n "__fish_outlive_using_subcommand rehearse" -l rounds -d 'How often the command is run' -r
complete -c outlive -n "__fish_outlive_using_subcommand rehearse" -l every -d 'Time from one run of the command to the next; more if the command or the idle clients take longer' -r
complete -c outlive -n "__fish_outlive_using_subcommand rehearse" -l post -d 'Size of the body that every other request of busy and HTTP/2 clients posts; 0: no POST, only GET' -r
complete -c outlive -n "__fish_outlive_using_subcommand rehearse" -l expect -d 'The exact body that every answer must have; without it, only its framing is checked' -r
complete -c outlive -n "__fish_outlive_using_subcommand rehearse" -l timeout -d 'How long an answer may take' -r
complete -c outlive -n "__fish_outlive_using_subcommand rehearse" -l connect-timeout -d 'How long connecting may take' -r
complete -c outlive -n "__fish_outlive_using_subcommand rehearse" -l report -d 'Write a report for people here: one HTML file, with nothing from elsewhere' -r -F
complete -c outlive -n "__fish_outlive_using_subcommand rehearse" -l json -d 'Write the results for scripts here; `-`: to standard output, and the summary to standard error' -r -F
complete -c outlive -n "__fish_outlive_using_subcommand rehearse" -s c -l config -d 'Configuration file, instead of /etc/outlive/outlive.toml' -r -F
complete -c outlive -n "__fish_outlive_using_subcommand rehearse" -l control -d 'Control socket of the service (of any that uses the library), instead of /run/outlive/control' -r -F
complete -c outlive -n "__fish_outlive_using_subcommand rehearse" -l all-survive -d 'Take it for a failure, too, if a connection does not survive, even one that is closed in good order'
complete -c outlive -n "__fish_outlive_using_subcommand rehearse" -l yes-it-is-mine -d 'Allow a target that is not on this machine: it is yours, and may be loaded'
complete -c outlive -n "__fish_outlive_using_subcommand rehearse" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c outlive -n "__fish_outlive_using_subcommand help; and not __fish_seen_subcommand_from serve check status reload rehearse help" -f -a "serve" -d 'Serve; this is what happens without a command'
complete -c outlive -n "__fish_outlive_using_subcommand help; and not __fish_seen_subcommand_from serve check status reload rehearse help" -f -a "check" -d 'Say whether the configuration can be served, and what is wrong with it'
complete -c outlive -n "__fish_outlive_using_subcommand help; and not __fish_seen_subcommand_from serve check status reload rehearse help" -f -a "status" -d 'Say how the service is'
complete -c outlive -n "__fish_outlive_using_subcommand help; and not __fish_seen_subcommand_from serve check status reload rehearse help" -f -a "reload" -d 'Let a new process take over, with the program and the configuration that are on disk now'
complete -c outlive -n "__fish_outlive_using_subcommand help; and not __fish_seen_subcommand_from serve check status reload rehearse help" -f -a "rehearse" -d 'Put load on an HTTP server while a command restarts it, and count what its clients lose'
complete -c outlive -n "__fish_outlive_using_subcommand help; and not __fish_seen_subcommand_from serve check status reload rehearse help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
