# Bash completion for mica. What can be completed is asked of the tool where it knows best.
_mica() {
  local cur=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} verb="" i
  local verbs="train predict eval embed info list help version"
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${COMP_WORDS[i]} in -*) ;; *) verb=${COMP_WORDS[i]}; break ;; esac
  done
  COMPREPLY=()
  if [ -z "$verb" ]; then
    mapfile -t COMPREPLY < <(compgen -W "$verbs" -- "$cur")
    return
  fi
  case $previous in
    --threads | -j | --epochs | --batch-size | --lr | --seed | --val-split) return ;;
  esac
  case $cur in
    -*)
      mapfile -t COMPREPLY < <(compgen -W "$("${COMP_WORDS[0]}" help "$verb" 2>/dev/null |
        grep -oE -- '(^|[[:space:]])--?[a-z][a-z-]*' | tr -d '[:blank:]' | sort -u)" -- "$cur")
      return
      ;;
  esac
  local words=""
  case $verb:$((COMP_CWORD - i)) in
    help:1) words=$verbs ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur"; compgen -f -- "$cur")
}
complete -o filenames -F _mica mica
