//! An environment as settings write it.

use sortie_core::network::NetworkRule;
use sortie_environment::{Environment, Image, OperatorTable, Origin, RepositoryTable, SecretSource};

fn repository(text: &str) -> Result<Environment, String> {
    let table: RepositoryTable = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    table.into_environment().map_err(|error| error.to_string())
}

fn operator(text: &str) -> Result<Environment, String> {
    let table: OperatorTable = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    table.into_environment(Origin::User("ci".into())).map_err(|error| error.to_string())
}

fn refused(text: &str) -> String {
    repository(text).expect_err(text)
}

#[test]
fn every_key_of_an_environment_holds() {
    let environment = repository(
        r#"
        build = { dockerfile = "./docker/Dockerfile", context = ".", target = "dev", args = { A = "b" } }
        setup = ["make deps"]
        maintenance = ["make migrate"]
        setup_root = true
        cache = ["~/.cache/pip", "target/"]
        secrets = ["TOKEN"]
        [variables]
        MODE = "test"
        [network]
        setup = "registries"
        agent = "none"
        [limits]
        memory_mb = 2048
        processes = 100
        cpus = 1.5
        setup_minutes = 20
        idle_seconds = 60
        [test]
        command = ["make", "check"]
        format = "tap"
        [[service]]
        name = "db"
        image = "postgres:17"
        variables = { POSTGRES_PASSWORD = "x" }
        health = "pg_isready"
        health_seconds = 30
        "#,
    )
    .expect("it holds");
    let Some(Image::Built(build)) = &environment.image else { panic!("it is built") };
    assert_eq!((build.dockerfile.as_str(), build.context.as_str()), ("docker/Dockerfile", ""));
    assert_eq!(environment.origin, Origin::Repository);
    assert_eq!(environment.cache, ["~/.cache/pip", "target"]);
    assert_eq!(environment.wanted_secrets, ["TOKEN"]);
    assert_eq!(environment.agent_network, Some(NetworkRule::None));
    assert_eq!((environment.limits.memory_mb, environment.limits.cpus), (Some(2048), Some(1.5)));
    assert_eq!(environment.services[0].health_seconds, Some(30));
    assert_eq!(environment.test.expect("tests").command, ["make", "check"]);
}

#[test]
fn a_base_is_a_name_and_no_option() {
    assert_eq!(operator("base = \"next\"").expect("an operator's").base.as_deref(), Some("next"));
    assert_eq!(repository("base = \"next\"").expect("a repository's").base.as_deref(), Some("next"));
    for text in ["base = \"--upload-pack=x\"", "base = \"\"", "base = \"a\\nb\""] {
        assert!(refused(text).contains("names no branch, tag or commit"), "{}", refused(text));
    }
}

#[test]
fn secrets_are_bound_by_operators_alone() {
    let text = "[secrets]\nTOKEN = { env = \"MY_TOKEN\" }\nKEY = { file = \"/run/key\" }\n";
    let secrets = operator(text).expect("an operator's").secrets;
    assert_eq!(secrets["TOKEN"], SecretSource::Variable("MY_TOKEN".into()));
    assert_eq!(secrets["KEY"], SecretSource::File("/run/key".into()));
    assert!(refused(text).contains("a repository binds no secrets"), "{}", refused(text));
    for text in
        ["TOKEN = { env = \"\" }", "TOKEN = { value = \"x\" }", "HOME = { env = \"X\" }", "TOKEN = \"x\""]
    {
        assert!(operator(&format!("[secrets]\n{text}")).is_err(), "{text}");
    }
    let twice = operator("variables = { TOKEN = \"x\" }\nsecrets = { TOKEN = { env = \"X\" } }");
    assert!(twice.expect_err("one name for two").contains("one of `variables` as well"));
}

#[test]
fn relative_files_of_secrets_lie_beside_the_settings() {
    let mut table: OperatorTable =
        toml::from_str("[secrets]\nA = { file = \"a\" }\nB = { file = \"/b\" }\n").expect("it is a table");
    table.place_in("/etc/sortie".as_ref());
    let secrets = table.into_environment(Origin::Organisation("ci".into())).expect("it holds").secrets;
    assert_eq!(secrets["A"], SecretSource::File("/etc/sortie/a".into()));
    assert_eq!(secrets["B"], SecretSource::File("/b".into()));
}

#[test]
fn what_cannot_hold_is_refused_by_its_key() {
    let many = |what: &str, count| vec![format!("\"{what}\""); count].join(", ");
    let long = "x".repeat((16 << 10) + 1);
    for (text, words) in [
        ("imagee = \"a\"".into(), "unknown field `imagee`"),
        ("image = \"a\"\nbuild = { dockerfile = \"D\" }".into(), "only one of the two"),
        ("image = \"-v\"".into(), "image: "),
        ("image = \"a b\"".into(), "image: "),
        ("build = { dockerfile = \"../D\" }".into(), "build.dockerfile: `../D` leads out"),
        ("build = { dockerfile = \"D\", context = \"/\" }".into(), "build.context: "),
        ("build = { dockerfile = \".\" }".into(), "names no file"),
        ("build = { dockerfile = \"D\", target = \"a b\" }".into(), "build.target: "),
        ("build = { dockerfile = \"D\", args = { HTTP_PROXY = \"x\" } }".into(), "build.args: "),
        (format!("setup = [{}]", many("true", 65)), "setup: 65 commands; at most 64"),
        (format!("maintenance = [\"{long}\"]"), "maintenance: 16385 bytes"),
        ("setup = [\" \"]".into(), "an empty command"),
        ("setup = [\"a\\u0000b\"]".into(), "NUL"),
        ("cache = [\"../x\"]".into(), "cache: "),
        ("cache = [\"/var\"]".into(), "cache: "),
        ("cache = [\"~/\"]".into(), "cache: "),
        ("cache = [\"~\"]".into(), "cache: "),
        ("cache = [\".\"]".into(), "cache: "),
        ("cache = [\"./.git/hooks\"]".into(), "cache: "),
        ("secrets = [\"A B\"]".into(), "secrets: "),
        ("base = \"--upload-pack=x\"".into(), "base: "),
        ("base = \"\"".into(), "base: "),
        ("variables = { \"A B\" = \"x\" }".into(), "variables: `A B`"),
        ("variables = { 1A = \"x\" }".into(), "variables: `1A`"),
        ("variables = { https_proxy = \"x\" }".into(), "set by Sortie"),
        ("variables = { A = \"a\\u0000\" }".into(), "variables.A: a NUL"),
        ("limits = { cpus = nan }".into(), "limits.cpus"),
        ("limits = { cpus = 0.0 }".into(), "limits.cpus"),
        ("limits = { memory_mb = 0 }".into(), "limits.memory_mb"),
        ("limits = { setup_minutes = 100000 }".into(), "limits.setup_minutes"),
        ("network = { agent = \"a b\" }".into(), "is no network rule"),
        ("test = { command = [] }".into(), "test.command"),
        ("test = { command = [\"x\"], format = \"junit\" }".into(), "test.format"),
    ] {
        let error = refused(&text);
        assert!(error.contains(words), "{}: {error}", &text[..text.len().min(60)]);
    }
}

#[test]
fn a_service_has_a_name_of_its_own_that_is_one_of_a_host() {
    let service = |name: &str, rest: &str| format!("[[service]]\nname = \"{name}\"\nimage = \"a\"\n{rest}\n");
    for name in ["", "Db", "a_b", "-a", "a-", "a.b", "localhost", "../x"] {
        assert!(refused(&service(name, "")).contains("is no name of a service"), "{name}");
    }
    assert!(refused(&[service("a", ""), service("a", "")].concat()).contains("two services"));
    let many: String = (0..17).map(|n| service(&format!("s{n}"), "")).collect();
    assert!(refused(&many).contains("17 services; at most 16"));
    for rest in
        ["health_seconds = 0", "health_seconds = 4000", "health = \" \"", "variables = { \"A=B\" = \"x\" }"]
    {
        assert!(refused(&service("db", rest)).contains("service"), "{rest}");
    }
    assert!(refused("[[service]]\nname = \"db\"\nimage = \"--net=host\"\n").contains("service.db.image: "));
}
