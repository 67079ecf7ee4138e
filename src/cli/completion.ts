/** `winnow completion bash|zsh|fish`: a script for the shell, written from the commands as they are declared. */

/** One option of a verb: `--store`, `-o`. */
export interface CompletedOption {
  readonly long: string | null;
  readonly short: string | null;
  readonly about: string;
  /** Whether a value follows it. */
  readonly takesValue: boolean;
  /** The only values there are; none: a file or anything else. */
  readonly choices: readonly string[];
}

export interface CompletedVerb {
  readonly name: string;
  readonly about: string;
  readonly options: readonly CompletedOption[];
  /** The values of its first argument; none: a file. */
  readonly choices: readonly string[];
}

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

/** @returns the script's text, ending in a newline */
export function completionScript(shell: Shell, verbs: readonly CompletedVerb[]): string {
  return { bash, zsh, fish }[shell](verbs);
}

function bash(verbs: readonly CompletedVerb[]): string {
  const words = (list: readonly string[]): string => `mapfile -t COMPREPLY < <(compgen -W ${quote(list.join(' '))} -- "$cur")`;
  const branch = ({ name, options, choices }: CompletedVerb): string => {
    const values = options.filter((option) => option.takesValue);
    const named = values.filter((option) => option.choices.length > 0);
    const free = values.filter((option) => option.choices.length === 0);
    return [
      `    ${name})`,
      '      case "$prev" in',
      ...named.map((option) => `        ${flagsOf(option).join('|')}) ${words(option.choices)}; return ;;`),
      ...(free.length === 0 ? [] : [`        ${free.flatMap(flagsOf).join('|')}) return ;;`]),
      '      esac',
      `      if [[ "$cur" == -* ]]; then ${words([...options.flatMap(flagsOf), '--help'])}`,
      ...(choices.length === 0 ? [] : [`      else ${words(choices)}`]),
      '      fi ;;',
    ].join('\n');
  };
  return `# Completion of winnow for bash. Try it: source <(winnow completion bash)
_winnow() {
  local cur="\${COMP_WORDS[COMP_CWORD]}" prev="\${COMP_WORDS[COMP_CWORD-1]}" verb="" i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    if [[ "\${COMP_WORDS[i]}" != -* ]]; then verb="\${COMP_WORDS[i]}"; break; fi
  done
  case "$verb" in
    "") ${words([...verbs.map(({ name }) => name), '--help', '--version'])} ;;
${verbs.map(branch).join('\n')}
  esac
}
# What the function leaves open is a file.
complete -o default -F _winnow winnow
`;
}

function zsh(verbs: readonly CompletedVerb[]): string {
  const plain = (text: string): string => text.replaceAll(/[[\]:]/g, (one) => `\\${one}`);
  const value = (choices: readonly string[]): string => (choices.length > 0 ? `(${choices.join(' ')})` : '_files');
  const option = (one: CompletedOption): string[] => flagsOf(one).map((flag) => `        ${quote(`*${flag}[${plain(one.about)}]${one.takesValue ? `:value:${value(one.choices)}` : ''}`)} \\`);
  const branch = ({ name, options, choices }: CompletedVerb): string => [`      ${name})`, '        _arguments \\', ...options.flatMap(option).map((line) => `  ${line}`), `          ${quote(`*:argument:${value(choices)}`)} ;;`].join('\n');
  return `#compdef winnow
# Completion of winnow for zsh. Try it: source <(winnow completion zsh)
_winnow() {
  local -a verbs
  verbs=(
${verbs.map(({ name, about }) => `    ${quote(`${name}:${plain(about)}`)}`).join('\n')}
  )
  if (( CURRENT == 2 )); then
    _describe verb verbs
  else
    local verb="$words[2]"
    shift words
    (( CURRENT-- ))
    case "$verb" in
${verbs.map(branch).join('\n')}
    esac
  fi
}
compdef _winnow winnow
`;
}

function fish(verbs: readonly CompletedVerb[]): string {
  const seen = (name: string): string => quote(`__fish_seen_subcommand_from ${name}`);
  const option = (verb: string, { long, short, about, takesValue, choices }: CompletedOption): string =>
    ['complete -c winnow -n', seen(verb), ...(long === null ? [] : ['-l', long.slice(2)]), ...(short === null ? [] : ['-s', short.slice(1)]), ...(takesValue ? ['-r'] : []), ...(choices.length > 0 ? ['-f', '-a', quote(choices.join(' '))] : []), '-d', quote(about)].join(' ');
  const lines = verbs.flatMap(({ name, about, options, choices }) => [
    `complete -c winnow -n __fish_use_subcommand -f -a ${name} -d ${quote(about)}`,
    ...options.map((one) => option(name, one)),
    ...(choices.length > 0 ? [`complete -c winnow -n ${seen(name)} -f -a ${quote(choices.join(' '))}`] : []),
  ]);
  return `# Completion of winnow for fish. Try it: winnow completion fish | source\n${lines.join('\n')}\n`;
}

function flagsOf({ long, short }: CompletedOption): string[] {
  return [long, short].filter((flag) => flag !== null);
}

/** In single quotes, as all three shells read them. */
function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
