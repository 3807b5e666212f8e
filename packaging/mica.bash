# Bash completion for mica. Verbs, flags and names are asked of the tool, so they are its own.
_mica() {
  local tool=${COMP_WORDS[0]} cur=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} verb="" words="" i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${COMP_WORDS[i]} in -*) ;; *) verb=${COMP_WORDS[i]}; break ;; esac
  done
  COMPREPLY=()
  if [ -z "$verb" ]; then
    mapfile -t COMPREPLY < <(compgen -W "$("$tool" help --names 2>/dev/null)" -- "$cur")
    return
  fi
  case $previous in
    --optimiser | --schedule | --loss | --scheme)
      mapfile -t COMPREPLY < <(compgen -W "$("$tool" list "${previous#--}" --names 2>/dev/null)" -- "$cur")
      return ;;
    --encoder | --data)
      [ "$previous" = --data ] && words=data || words=model
      mapfile -t COMPREPLY < <(compgen -W "$("$tool" $words list --names 2>/dev/null)" -- "$cur"; compgen -f -- "$cur")
      return ;;
  esac
  case $cur in
    -*)
      mapfile -t COMPREPLY < <(compgen -W "$("$tool" help "$verb" 2>/dev/null |
        grep -oE -- '^  --?[a-z][a-z0-9-]*(, --?[a-z]+)?' | tr -d ',' | tr -s '[:blank:]' '\n' | sort -u)" -- "$cur")
      return ;;
  esac
  case $verb:$((COMP_CWORD - i)):$previous in
    help:1:*) words=$("$tool" help --names 2>/dev/null) ;;
    train:1:*) words=$("$tool" list model --names 2>/dev/null) ;;
    fit:*) words=$("$tool" list estimator --names 2>/dev/null) ;;
    list:1:*) words=$("$tool" list 2>/dev/null | sed -n 's/^\([a-z]*\):$/\1/p') ;;
    list:2:*) words=$("$tool" list "$previous" --names 2>/dev/null) ;;
    model:1:*) words="list get import" ;;
    data:1:*) words="list get info" ;;
    model:2:* | data:2:get | data:2:list | data:2:info) words=$("$tool" "$verb" list --names 2>/dev/null) ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
  # Names are what these take; elsewhere files are as likely.
  case $verb:$((COMP_CWORD - i)):$previous in
    help:* | list:* | model:* | data:1:* | data:2:get | data:2:list) ;;
    *) mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -f -- "$cur") ;;
  esac
}
complete -o filenames -F _mica mica
