//! Settings as an archive keeps them: what held, without what was secret.

use serde_json::{Value, json};
use sortie_core::secret::Secret;

use super::resolved::Resolved;
use crate::plugins::Wanted;

const MASK: &str = "****";

/// Words in the names of a plugin's settings that hold secrets.
const SECRET: [&str; 8] =
    ["token", "secret", "password", "passwd", "credential", "api_key", "apikey", "private_key"];

/// The settings of a task.
pub(crate) fn shown(settings: &Resolved, wanted: &[Wanted]) -> Value {
    let plugins = wanted.iter().map(|plugin| {
        let mut own = plugin.spec.settings.clone();
        mask_names(&mut own);
        json!({ "id": plugin.spec.id, "layer": format!("{:?}", plugin.layer).to_lowercase(), "settings": own })
    });
    let limits = &settings.limits;
    masked(json!({
        "model": settings.model.to_string(),
        "install": format!("{:?}", settings.install),
        "test": settings.test.command,
        "network": {
            "setup": settings.setup_network.to_string(),
            "agent": settings.agent_network.to_string(),
            "trusted": settings.trusted.iter().map(ToString::to_string).collect::<Vec<_>>(),
        },
        "limits": {
            "turns": limits.turns,
            "tokens": limits.tokens,
            "seconds": limits.time.as_secs(),
            "call_seconds": limits.call.as_secs(),
            "reply_tokens": limits.reply_tokens,
        },
        "workspace": {
            "memory_mb": settings.workspace.memory_mb,
            "processes": settings.workspace.processes,
            "cpus": settings.workspace.cpus,
            "disk_mb": settings.workspace.disk_mb,
            "disk_free_mb": settings.workspace.disk_free_mb,
            "accept": settings.workspace.accept,
            "image_registries": settings.workspace.image_registries,
        },
        "push": settings.push,
        "plugins": plugins.collect::<Vec<_>>(),
    }))
}

/// Masks texts whose names say that they are secret.
fn mask_names(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let name = name.to_lowercase().replace('-', "_");
                if value.is_string() && SECRET.iter().any(|word| name.contains(word)) {
                    *value = MASK.into();
                } else {
                    mask_names(value);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(mask_names),
        _ => {}
    }
}

/// Masks the keys of models and the passwords of addresses, wherever they stand.
pub(crate) fn masked(mut value: Value) -> Value {
    let keys = sortie_model::Environment::VARIABLES.into_iter().filter(|name| name.ends_with("_API_KEY"));
    let keys: Vec<_> = keys.filter_map(|name| std::env::var(name).ok()).map(Secret::new).collect();
    mask_texts(&mut value, &keys);
    value
}

fn mask_texts(value: &mut Value, keys: &[Secret]) {
    match value {
        Value::String(text) => {
            for key in keys {
                *text = key.scrub(text);
            }
            *text = without_passwords(text);
        }
        Value::Object(fields) => fields.values_mut().for_each(|value| mask_texts(value, keys)),
        Value::Array(values) => values.iter_mut().for_each(|value| mask_texts(value, keys)),
        _ => {}
    }
}

/// Masks `user:password@` in the addresses of a text.
fn without_passwords(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (head, tail) = rest.split_at(at + 3);
        shown.push_str(head);
        let end = tail.find(|c: char| c.is_whitespace() || "/?#\"'`".contains(c)).unwrap_or(tail.len());
        let (authority, tail) = tail.split_at(end);
        match authority.rsplit_once('@') {
            Some((_, host)) => shown.push_str(&format!("{MASK}@{host}")),
            None => shown.push_str(authority),
        }
        rest = tail;
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_by_name_and_passwords_in_addresses_are_masked() {
        let mut settings =
            json!({ "api-key": "k1", "deep": [{ "Token": "k2", "words": ["todo"] }], "tokens": 5 });
        mask_names(&mut settings);
        assert_eq!(
            settings,
            json!({ "api-key": MASK, "deep": [{ "Token": MASK, "words": ["todo"] }], "tokens": 5 })
        );
        for (text, shown) in [
            ("pip install -i https://me:pw@mirror/simple x", "pip install -i https://****@mirror/simple x"),
            ("https://a@b@c/ and http://d/e@f", "https://****@c/ and http://d/e@f"),
            ("plain a@b", "plain a@b"),
        ] {
            assert_eq!(masked(json!([text])), json!([shown]));
        }
    }

    #[test]
    fn keys_are_masked_wherever_they_stand() {
        let mut value = json!({ "summary": "the key sk-123456 is wrong" });
        mask_texts(&mut value, &[Secret::new("sk-123456")]);
        assert_eq!(value["summary"], "the key **** is wrong");
    }
}
