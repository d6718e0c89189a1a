//! Arguments.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use sortie_core::TaskId;
use sortie_core::network::NetworkRule;

use crate::workspaces::BACKENDS;

/// Hands coding tasks to a model that works in an isolated workspace, with
/// tools and policies that are WebAssembly components.
#[derive(Debug, Parser)]
#[command(name = "sortie", version, propagate_version = true, after_help = FIRST_STEPS)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const FIRST_STEPS: &str = "\
First steps:
  sortie demo                      a whole task without a key or a service
  sortie doctor                    what this machine can enforce
  export ANTHROPIC_API_KEY=…       or OPENAI_API_KEY
  sortie run \"fix the failing test\" --model anthropic/NAME

Settings: ~/.config/sortie/config.toml, .sortie/config.toml in the repository.
State:    SORTIE_HOME, by default ~/.local/state/sortie.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs one task in the foreground
    Run(Box<RunArguments>),
    /// Shows a whole task on a small repository, without a key
    Demo(DemoArguments),
    /// Says what this machine can enforce, and what to do about the rest
    Doctor(DoctorArguments),
    /// Lists tasks, the newest first
    List(ListArguments),
    /// Prints the events of a task
    Logs(LogsArguments),
    /// Prints the change that a task made, as a unified diff
    Diff(DiffArguments),
    /// What workspaces are made of and may reach
    #[command(subcommand, after_help = ENVIRONMENTS)]
    Env(EnvCommand),
    /// What is kept of tasks that ended
    #[command(subcommand, after_help = ARCHIVES)]
    Archive(ArchiveCommand),
    /// Enters the workspace of a task that ended, as it was kept or archived
    Shell(ShellArguments),
    /// Removes what killed processes left, and what the settings do not keep
    Gc(GcArguments),
    /// Shows the plugins: tools and policies
    #[command(subcommand)]
    Plugin(PluginCommand),
}

const ENVIRONMENTS: &str = "\
An environment says what a workspace is made of and how it is prepared. The first of these holds:
  --env NAME, or environment = \"NAME\" in the settings, for [environments.NAME] there
  [environment] in the repository's .sortie/config.toml
  .devcontainer/devcontainer.json, with --workspace docker
  what the manifests in the root of the repository suggest

  sortie env show                    each value, and who says it
  sortie env check --env ci          whether all of it can be had
  sortie env build                   the set-up now, so that the next task need not
  sortie env shell -- make test      a command in the workspace that a task would begin with
  sortie env learn --write           have set-up reach what the last one contacted, and no more";

const ARCHIVES: &str = "\
When a task ends, its work tree, journal, change and large outputs go into an archive, and the \
workspace is removed; [archive] in the settings says for which tasks, and for how long.

  sortie archive restore task-7k2m9q to/here
  sortie shell task-7k2m9q           enters the archived work tree, without unpacking it for good";

const SHELL: &str = "\
The workspace is the one that `--keep` left in place, else the archived one, which is removed \
again. The policies, limits and network rule of the agent hold in it. Ends with the command's exit code.

  sortie shell task-7k2m9q
  sortie shell task-7k2m9q -- pytest -x
  sortie shell task-7k2m9q --network all -- pip download x";

const GC: &str = "\
Removes what killed processes left (any command does); archives, folders of tasks, snapshots of set-ups and \
mirrors that the settings do not keep; containers and images that no task and no snapshot needs; compiled \
components that nobody used for 30 days. Tasks that run, and workspaces that somebody is \
in, are left alone; kept ones go as archives do, `keep_days` after somebody was last in them.";

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct RunArguments {
    /// The task in words; `-` reads it from standard input
    pub(crate) prompt: String,
    #[command(flatten)]
    pub(crate) task: TaskArguments,
}

const EXIT_CODES: &str = "\
Exit codes:
    0  done
    1  failed, blocked or partial
    2  usage or configuration
    3  the task or its delivery was refused by a policy
    4  a budget is spent
    5  the workspace or another part of the platform failed
  130  cancelled";

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct TaskArguments {
    /// The repository: https://…, ssh://…, file://…, user@host:path, or a folder [default: the one around the current folder]
    #[arg(long, value_name = "URL|PATH")]
    pub(crate) repo: Option<String>,
    /// The branch, tag or commit to start from [default: the repository's HEAD]
    #[arg(long, value_name = "REF")]
    pub(crate) base: Option<String>,
    /// The branch to deliver; one that is not below `sortie/` takes a rule that allows the push [default:
    /// sortie/SLUG-ID]
    #[arg(long, value_name = "NAME")]
    pub(crate) branch: Option<String>,
    /// The model: anthropic/NAME, openai/NAME (Responses), openai-chat/NAME (Chat Completions), scripted:FILE
    #[arg(long, value_name = "PROVIDER/NAME", env = "SORTIE_MODEL")]
    pub(crate) model: Option<String>,
    /// The kind of workspace: the built-in sandbox, or a container of Docker's or Podman's [default: sandbox]
    #[arg(long, value_name = "KIND", env = "SORTIE_WORKSPACE", value_parser = BACKENDS)]
    pub(crate) workspace: Option<String>,
    /// The image of the container, by name or digest
    #[arg(long, value_name = "IMAGE", env = "SORTIE_IMAGE")]
    pub(crate) image: Option<String>,
    /// The environment of the settings that the workspace is made as; `none` for what the repository's manifests suggest [default: the settings', else the repository's own]
    #[arg(long, value_name = "NAME")]
    pub(crate) env: Option<String>,
    /// A limit to do without where nobody can keep it, by the name that `sortie doctor` gives; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) accept: Vec<String>,
    /// Where the agent may connect to: none, all, registries (of the package managers), or hosts such as example.org,*.example.org:8443
    #[arg(long, value_name = "RULE", env = "SORTIE_NETWORK")]
    pub(crate) network: Option<NetworkRule>,
    /// What is done with the result
    #[arg(long, value_name = "WHAT", value_parser = ["push", "none"])]
    pub(crate) deliver: Option<String>,
    /// Most model turns
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_turns: Option<u32>,
    /// Most tokens, sent and received together
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_tokens: Option<u64>,
    /// Most wall time of the work phase, such as 90s, 30m, 2h
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) max_time: Option<Duration>,
    /// Keep the workspace's folders in place after the end, for `sortie shell`
    #[arg(long)]
    pub(crate) keep: bool,
    /// Print one JSON event a line on stdout
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArguments {
    /// Where to make the demo's folder [default: a new temporary folder]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) at: Option<PathBuf>,
    /// The kind of workspace: the built-in sandbox, or a container of Docker's or Podman's [default: sandbox]
    #[arg(long, value_name = "KIND", env = "SORTIE_WORKSPACE", value_parser = BACKENDS)]
    pub(crate) workspace: Option<String>,
    /// The image of the container, by name or digest; all that the demo needs of it is sh
    #[arg(long, value_name = "IMAGE", env = "SORTIE_IMAGE")]
    pub(crate) image: Option<String>,
    /// Print one JSON event a line on stdout
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArguments {
    /// Print the findings as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    /// Print one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArguments {
    /// The task, such as task-7k2m9q
    pub(crate) id: TaskId,
    /// Go on until the task ends
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Print one JSON event a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArguments {
    /// The task, such as task-7k2m9q
    pub(crate) id: TaskId,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EnvCommand {
    /// Says what a task's workspace would be made of, and why
    Show(ShowArguments),
    /// Says whether what a task's workspace would be made of can be had
    Check(CheckArguments),
    /// Runs the set-up now, and keeps what it makes for the next task
    Build(BuildArguments),
    /// Runs the set-up, and a shell in the workspace that a task would begin with
    Shell(EnvironmentShellArguments),
    /// Prints the network rule that allows what a task's set-up contacted, and nothing else
    Learn(LearnArguments),
}

/// What chooses an environment, as for `sortie run`.
#[derive(Clone, Debug, Args)]
pub(crate) struct EnvironmentArguments {
    /// The repository; for `show` and `check` a folder of this machine [default: the one around the current folder]
    #[arg(long, value_name = "URL|PATH")]
    repo: Option<String>,
    /// The branch, tag or commit to look at [default: the repository's HEAD]
    #[arg(long, value_name = "REF")]
    base: Option<String>,
    /// The environment of the settings; `none` for what the repository's manifests suggest
    #[arg(long, value_name = "NAME")]
    pub(crate) env: Option<String>,
    /// The kind of workspace [default: sandbox]
    #[arg(long, value_name = "KIND", env = "SORTIE_WORKSPACE", value_parser = BACKENDS)]
    workspace: Option<String>,
    /// The image of the container, by name or digest
    #[arg(long, value_name = "IMAGE", env = "SORTIE_IMAGE")]
    image: Option<String>,
    /// Where the agent may connect to
    #[arg(long, value_name = "RULE", env = "SORTIE_NETWORK")]
    pub(crate) network: Option<NetworkRule>,
    /// A limit to do without where nobody can keep it, as for `sortie run`; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) accept: Vec<String>,
}

impl EnvironmentArguments {
    /// As those of a task, which asks no model.
    pub(crate) fn into_task(self) -> TaskArguments {
        let Self { repo, base, env, workspace, image, network, accept } = self;
        let model = Some("scripted:none".into());
        TaskArguments {
            repo,
            base,
            env,
            workspace,
            image,
            network,
            accept,
            model,
            ..TaskArguments::default()
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ShowArguments {
    #[command(flatten)]
    pub(crate) of: EnvironmentArguments,
    /// Print it as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    #[command(flatten)]
    pub(crate) of: EnvironmentArguments,
}

#[derive(Debug, Args)]
pub(crate) struct BuildArguments {
    #[command(flatten)]
    pub(crate) of: EnvironmentArguments,
    /// Print one JSON event a line on stdout
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct EnvironmentShellArguments {
    #[command(flatten)]
    pub(crate) of: EnvironmentArguments,
    /// A command to run instead of a shell
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct LearnArguments {
    /// The task, such as task-7k2m9q [default: the newest]
    pub(crate) id: Option<TaskId>,
    /// Put the rule into the user's settings
    #[arg(long)]
    pub(crate) write: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ArchiveCommand {
    /// Lists archives, the newest first
    List(ListArguments),
    /// Says what is in an archive
    Show {
        /// The task, such as task-7k2m9q
        id: TaskId,
        /// Print the manifest as JSON
        #[arg(long)]
        json: bool,
    },
    /// Unpacks an archive
    Restore {
        /// The task, such as task-7k2m9q
        id: TaskId,
        /// Where to: a folder that is not there yet, or empty [default: the task's id, in the current folder]
        folder: Option<PathBuf>,
    },
    /// Removes archives, and what is left of the tasks beside the journal: folders, with workspaces that were kept
    Rm {
        /// The tasks, such as task-7k2m9q
        #[arg(required = true)]
        ids: Vec<TaskId>,
    },
}

#[derive(Debug, Args)]
#[command(after_help = SHELL)]
pub(crate) struct ShellArguments {
    /// The task, such as task-7k2m9q
    pub(crate) id: TaskId,
    /// A command to run instead of a shell
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
    /// Leave a work tree that came from an archive in place afterwards
    #[arg(long)]
    pub(crate) keep: bool,
    /// The kind of workspace [default: the task's]
    #[arg(long, value_name = "KIND", value_parser = BACKENDS)]
    pub(crate) workspace: Option<String>,
    /// The image of the container, by name or digest
    #[arg(long, value_name = "IMAGE", env = "SORTIE_IMAGE")]
    pub(crate) image: Option<String>,
    /// The environment of the settings whose variables and services there are
    #[arg(long, value_name = "NAME")]
    pub(crate) env: Option<String>,
    /// Where the shell may connect to, as for `sortie run`
    #[arg(long, value_name = "RULE", env = "SORTIE_NETWORK")]
    pub(crate) network: Option<NetworkRule>,
    /// A limit to do without where nobody can keep it, as for `sortie run`; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) accept: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = GC)]
pub(crate) struct GcArguments {
    /// Say what would be removed, with its size, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print what was removed as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// Loads every plugin, and lists what it offers
    List(ListArguments),
}

/// A number with `s`, `m` or `h`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration; write 90s, 30m or 2h");
    let (number, unit) = text.split_at(text.len() - text.chars().last().map_or(0, char::len_utf8));
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = number.checked_mul(factor).filter(|s| (1..=30 * 86_400).contains(s)).ok_or_else(wrong)?;
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn durations_need_a_unit_and_a_sensible_size() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        for bad in ["", "90", "h", "-1s", "0s", "99999999999999999999h", "1ß"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
