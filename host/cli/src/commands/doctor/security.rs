//! AppArmor and SELinux: whether they are in the way, and what to paste.

use std::path::Path;

use super::Finding;

const RESTRICTION: &str = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";

/// What the kernel's files say, read with `read`. `refused` says that the sandbox does not start.
pub(super) fn finding(read: impl Fn(&str) -> Option<String>, program: &Path, refused: bool) -> Finding {
    let is = |path: &str, value: &str| read(path).is_some_and(|text| text.trim() == value);
    if is("/sys/module/apparmor/parameters/enabled", "Y") {
        let restricts = is(RESTRICTION, "1");
        return match (restricts, refused) {
            (true, true) => Finding::bad(
                "security",
                "AppArmor keeps user namespaces from programs without a profile",
                apparmor(program),
            ),
            (true, false) => Finding::good("security", "AppArmor; it lets this program have user namespaces"),
            (false, _) => Finding::good("security", "AppArmor; it does not restrict user namespaces"),
        }
        .optional();
    }
    if is("/sys/fs/selinux/enforce", "1") {
        let context = read("/proc/self/attr/current").unwrap_or_default();
        let context = context.trim().trim_end_matches('\0').to_owned();
        if refused {
            return Finding::bad("security", format!("SELinux enforces; this program is {context}"), SELINUX)
                .optional();
        }
        return Finding::good("security", format!("SELinux enforces, and lets this program ({context}) be"))
            .optional();
    }
    Finding::good("security", "neither AppArmor nor an enforcing SELinux").optional()
}

/// A profile that takes nothing but the restriction away.
fn apparmor(program: &Path) -> String {
    let program = program.display();
    format!(
        "sudo tee /etc/apparmor.d/sortie <<'END'\n\
         abi <abi/4.0>,\n\
         include <tunables/global>\n\
         profile sortie \"{program}\" flags=(unconfined) {{\n  \
           userns,\n\
         }}\n\
         END\n\
         sudo apparmor_parser --replace /etc/apparmor.d/sortie\n\
         or, for all programs, until the next start: sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0"
    )
}

const SELINUX: &str = "if the log names it, a module of its own lets it:\n\
    sudo ausearch --message avc --start recent --comm sortie | audit2allow -M sortie-userns\n\
    sudo semodule --install sortie-userns.pp";

#[cfg(test)]
mod tests {
    use super::*;

    fn with(files: &[(&str, &str)], refused: bool) -> Finding {
        let read =
            |path: &str| files.iter().find(|(known, _)| *known == path).map(|(_, text)| format!("{text}\n"));
        finding(read, Path::new("/opt/my tools/sortie"), refused)
    }

    #[test]
    fn apparmors_restriction_comes_with_a_profile_for_this_program() {
        let files = [("/sys/module/apparmor/parameters/enabled", "Y"), (RESTRICTION, "1")];
        let found = with(&files, true);
        let hint = found.hint.expect("there is help");
        assert!(
            !found.ok
                && hint
                    .contains("profile sortie \"/opt/my tools/sortie\" flags=(unconfined) {\n  userns,\n}")
        );
        assert!(hint.contains("sysctl kernel.apparmor_restrict_unprivileged_userns=0"), "{hint}");
        assert!(with(&files, false).ok);
        assert!(with(&files[..1], true).ok, "then it is not AppArmor");
    }

    #[test]
    fn selinux_is_named_where_it_may_be_in_the_way() {
        let files =
            [("/sys/fs/selinux/enforce", "1"), ("/proc/self/attr/current", "user_u:user_r:user_t:s0\0")];
        let found = with(&files, true);
        assert!(!found.ok && found.detail.contains("user_u:user_r:user_t:s0"), "{found:?}");
        assert!(with(&files, false).ok && with(&[("/sys/fs/selinux/enforce", "0")], true).ok);
    }
}
