# fish completion for git-codestrator, and for git codestrator.

function __git_codestrator_offer
    set -l words (commandline -opc)
    set -l last 1
    if test "$words[1]" = git
        set last (contains -i -- codestrator $words)
    end
    set -l call $words[1..$last]
    set -e words[1..$last]
    set -l current (commandline -ct)
    for line in (env _GIT_CODESTRATOR_COMPLETE=fish $call $words "$current" 2>/dev/null)
        set -l part (string split \t -- $line)
        switch $part[1]
            case plain
                printf '%s\t%s\n' $part[2] "$part[3]"
            case file
                __fish_complete_path $current
            case dir
                __fish_complete_directories $current
        end
    end
end

complete -c git-codestrator -f -a '(__git_codestrator_offer)'
# The function comes with fish's completion of git, which is read before this is asked.
complete -c git -f -n '__fish_git_using_command codestrator' -a '(__git_codestrator_offer)'
