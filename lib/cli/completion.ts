import type { ArgumentSpec, Command, OptionSpec } from './command.js';
import { EVERYWHERE } from './parse.js';

/** Scripts that make a shell complete commands, options and their values. They ask nobody: all is in them. */

const optionsOf = ({ options }: Command): [string, OptionSpec][] =>
  Object.entries({ ...options, ...EVERYWHERE });

/** Values of an option or argument; undefined for anything, `files` for paths. */
const valuesOf = ({ choices, path }: OptionSpec | ArgumentSpec): readonly string[] | 'files' | undefined =>
  path ? 'files' : choices;

/** For `eval "$(baileys-vault completion bash)"`. */
export function bashCompletion(commands: readonly Command[]): string {
  const cases = commands.map((command) => {
    const options = optionsOf(command);
    const values = options.flatMap(([name, spec]) => {
      if (spec.kind === 'flag') {
        return [];
      }
      const words = valuesOf(spec);
      const names = [`--${name}`, ...(spec.short === undefined ? [] : [`-${spec.short}`])].join('|');
      return [`        ${names}) ${reply(words)}; return ;;`];
    });
    const argument = command.args[0] && valuesOf(command.args[0]);
    const flags = options.map(([name]) => `--${name}`).join(' ');
    return [
      `    ${command.name})`,
      ...(values.length === 0 ? [] : ['      case "$before" in', ...values, '      esac']),
      `      if [[ "$word" == -* ]]; then ${reply(flags.split(' '))}; else ${reply(argument)}; fi ;;`,
    ].join('\n');
  });
  return `# bash completion of baileys-vault: eval "$(baileys-vault completion bash)"
_baileys_vault() {
  local word="\${COMP_WORDS[COMP_CWORD]}" before="\${COMP_WORDS[COMP_CWORD-1]}"
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    ${reply([...commands.map(({ name }) => name), '--help', '--version'])}
    return
  fi
  case "\${COMP_WORDS[1]}" in
${cases.join('\n')}
  esac
}
complete -o bashdefault -F _baileys_vault baileys-vault
`;
}

function reply(words: readonly string[] | 'files' | undefined): string {
  if (words === undefined) {
    return ':';
  }
  const from = words === 'files' ? 'compgen -f' : `compgen -W "${words.join(' ')}"`;
  return `mapfile -t COMPREPLY < <(${from} -- "$word")`;
}

/** For a file named `_baileys-vault` in a folder of `$fpath`, or `eval`. */
export function zshCompletion(commands: readonly Command[]): string {
  const cases = commands.map((command) => {
    const options = optionsOf(command).map(([name, spec]) => `        ${zshOption(name, spec)} \\`);
    const args = command.args.map((arg, at) => {
      const position = arg.many ? '*' : at + 1;
      return `        ${quoted(`${position}:${escaped(arg.name)}:${zshValues(valuesOf(arg))}`)} \\`;
    });
    return [`      ${command.name})`, '        _arguments -s \\', ...options, ...args, '        ;;']
      .join('\n')
      .replace(/ \\\n {8};;$/, '\n        ;;');
  });
  return `#compdef baileys-vault
# zsh completion of baileys-vault: eval "$(baileys-vault completion zsh)"
_baileys_vault() {
  local line state
  _arguments -C '--help[show the help]' '--version[show the version]' '1: :->command' '*:: :->rest'
  case $state in
    command)
      local -a commands=(
${commands.map(({ name, summary }) => `        ${quoted(`${name}:${escaped(summary)}`)}`).join('\n')}
      )
      _describe command commands
      ;;
    rest)
      case $line[1] in
${cases.join('\n')}
      esac
      ;;
  esac
}
if [[ $funcstack[1] == _baileys_vault ]]; then _baileys_vault "$@"; else compdef _baileys_vault baileys-vault; fi
`;
}

function zshOption(name: string, spec: OptionSpec): string {
  const about = `[${escaped(spec.about)}]`;
  const value = spec.kind === 'flag' ? '' : `:${escaped(name)}:${zshValues(valuesOf(spec))}`;
  return spec.short === undefined
    ? quoted(`--${name}${about}${value}`)
    : `'(-${spec.short} --${name})'{-${spec.short},--${name}}${quoted(`${about}${value}`)}`;
}

function zshValues(values: readonly string[] | 'files' | undefined): string {
  if (values === undefined) {
    return ' ';
  }
  return values === 'files' ? '_files' : `(${values.join(' ')})`;
}

/** What would end a description. */
const escaped = (text: string): string => text.replace(/[[\]:\\]/g, '\\$&');
const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
