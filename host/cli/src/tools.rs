//! The tools of a task: the loaded components, over its workspace.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sortie_agent::Meter;
use sortie_core::network::HostPattern;
use sortie_orchestrator::Toolmaker;
use sortie_plugin_host::{LoadError, LoadedTool, PluginHost, PluginSpec, TaskContext, Toolbox};
use sortie_policy::ports::{
    ErrorCode, NetworkMeter, PortError, Repository as RepositoryPort, Tools, Workspace,
};
use sortie_policy::{FactsSource, Gate};
use sortie_workspace::egress::{Reach, ToolHttp};

use crate::adopt::Repository;
use crate::plugins::{Sinks, with_command};
use crate::settings::TestSettings;

/// The longest that a test run of the host may take.
const TESTS_TIME: Duration = Duration::from_secs(30 * 60);

/// Puts the tools of a task together.
pub(crate) struct Toolshop {
    pub(crate) loaded: Vec<LoadedTool>,
    pub(crate) host: PluginHost,
    /// The tool `run_tests` as the operator wants it.
    pub(crate) tests: Option<PluginSpec>,
    /// What the user or the organisation says of tests.
    pub(crate) user_test: TestSettings,
    pub(crate) from_repository: Arc<Repository>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) meter: Arc<Meter>,
    pub(crate) repository: Arc<dyn RepositoryPort>,
    pub(crate) trusted: Vec<HostPattern>,
    /// Counts the bytes of the task's connections.
    pub(crate) network: Arc<NetworkMeter>,
    pub(crate) sinks: Sinks,
    pub(crate) call_time: Duration,
}

#[async_trait]
impl Toolmaker for Toolshop {
    async fn tools(&self, workspace: &Arc<dyn Workspace>) -> Result<Arc<dyn Tools>, PortError> {
        let facts = Arc::clone(&self.meter) as Arc<dyn FactsSource>;
        let reach = Reach::new(self.gate.defaults().clone(), self.trusted.clone(), facts);
        let reach = reach.metered(Arc::clone(&self.network));
        let context = TaskContext {
            gate: Arc::clone(&self.gate),
            commands: workspace.commands(),
            files: workspace.files(),
            repository: Arc::clone(&self.repository),
            http: Arc::new(ToolHttp::new(self.gate.seal(), Arc::new(reach))),
            log: self.sinks.log(),
            progress: self.sinks.progress(),
            max_call: self.call_time.max(TESTS_TIME),
        };
        let toolbox = Toolbox::new(self.with_test_settings().await?, context)
            .map_err(|error| PortError::new(ErrorCode::Invalid, error.to_string()))?;
        Ok(Arc::new(toolbox))
    }
}

impl Toolshop {
    /// The tools, `run_tests` among them with the command that the repository
    /// names or, before it, the user: the settings for it are known only now.
    async fn with_test_settings(&self) -> Result<Vec<LoadedTool>, PortError> {
        let theirs = self.from_repository.settings().map(|settings| &settings.test);
        let named = self.tests.as_ref().and_then(|tests| with_command(tests, &self.user_test, theirs));
        let mut tools = self.loaded.clone();
        if let Some(spec) = named
            && let Some(place) = tools.iter_mut().find(|tool| tool.id() == spec.id)
        {
            let invalid = |error: LoadError| PortError::new(ErrorCode::Invalid, error.to_string());
            *place = self.host.load_tool(spec).await.map_err(invalid)?;
        }
        Ok(tools)
    }
}
