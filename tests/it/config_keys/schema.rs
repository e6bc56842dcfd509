//! The keys that a configuration may have, read off its JSON Schema: `routes[].request.max_body`, `roles.*`.
//!
//! A list of plain values is one key; so is a map of them. A key that takes a plain value or a map is itself a key, and
//! so is each key of the map.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::gateway::binary;

pub fn keys() -> BTreeSet<String> {
    let output = binary().arg("schema").output().unwrap();
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut keys = BTreeSet::new();
    walk(&schema, &schema, "", &mut keys);
    keys
}

/// Adds the keys below `node`; returns whether `node` also takes a plain value.
fn walk(root: &Value, node: &Value, path: &str, keys: &mut BTreeSet<String>) -> bool {
    if let Some(reference) = node["$ref"].as_str() {
        let target = reference
            .strip_prefix('#')
            .and_then(|pointer| root.pointer(pointer))
            .unwrap();
        return walk(root, target, path, keys);
    }
    let branches = ["anyOf", "oneOf", "allOf"]
        .iter()
        .filter_map(|name| node[name].as_array())
        .flatten();
    let branches: Vec<&Value> = branches.filter(|branch| branch["type"] != "null").collect();
    if !branches.is_empty() {
        return branches
            .iter()
            .filter(|branch| walk(root, branch, path, keys))
            .count()
            > 0;
    }
    if let Some(properties) = node["properties"].as_object() {
        for (name, property) in properties {
            let path = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            if walk(root, property, &path, keys) {
                keys.insert(path);
            }
        }
        return false;
    }
    if node["additionalProperties"].is_object() {
        let path = format!("{path}.*");
        if walk(root, &node["additionalProperties"], &path, keys) {
            keys.insert(path);
        }
        return false;
    }
    if node["items"].is_object() {
        return walk(root, &node["items"], &format!("{path}[]"), keys);
    }
    true
}
