//! What somebody may have meant who named a path that does not exist.

use sortie_sdk::prelude::*;

/// Paths that are compared with the one named.
const MAX_PATHS: u32 = 10_000;

/// Adds to a "not found" the existing paths that are most like the one named.
pub(crate) fn suggest(error: Error, path: &str) -> Error {
    if error.code != ErrorCode::NotFound {
        return error;
    }
    // Looking may be refused: the error stands without the hint then.
    let Ok(listing) = files::glob("**", MAX_PATHS) else { return error };
    let near = nearest(path, &listing.paths);
    if near.is_empty() {
        return error;
    }
    Error { message: format!("{}; did you mean {}?", error.message, near.join(" or ")), ..error }
}

/// At most three paths like the one named, the most alike first.
fn nearest(path: &str, paths: &[String]) -> Vec<String> {
    let name = |path: &str| path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_lowercase();
    let wanted = name(path);
    let alike = |other: &str| {
        let names = strsim::jaro_winkler(&wanted, &name(other));
        (names > 0.85).then(|| names * 2.0 + strsim::jaro_winkler(path, other))
    };
    let files = paths.iter().filter(|path| !path.ends_with('/'));
    let mut ranked: Vec<_> = files.filter_map(|path| Some((alike(path)?, path))).collect();
    ranked.sort_by(|(a, x), (b, y)| b.total_cmp(a).then_with(|| x.cmp(y)));
    ranked.into_iter().take(3).map(|(_, path)| path.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_elsewhere_and_a_slip_of_the_pen_are_near() {
        let paths = ["src/lib.rs", "src/parser/lexer.rs", "docs/index.md", "src/"].map(String::from);
        assert_eq!(nearest("lexer.rs", &paths), ["src/parser/lexer.rs"]);
        assert_eq!(nearest("src/parser/lexr.rs", &paths), ["src/parser/lexer.rs"]);
        assert!(nearest("zzz.toml", &paths).is_empty());
    }
}
