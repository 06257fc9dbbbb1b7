//! Who a process of the container is: names are looked up in the container's own files.

use crate::failure::Failure;
use pathrs::Root;
use pathrs::flags::OpenFlags;
use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

/// Greatest user or group id (moby/sys/user).
const MAX_ID: u32 = i32::MAX as u32;
/// Most bytes read of the container's files: whoever made the image is not trusted.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// A resolved user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Supplementary groups; the primary one is among them, since CVE-2022-36109.
    pub(super) groups: Vec<u32>,
    pub(super) home: String,
}

/// `/etc/passwd` and `/etc/group` of a root file system.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    passwd: String,
    group: String,
}

impl Accounts {
    /// Reads the files; absent ones are empty. Links are followed inside the root only.
    pub(super) fn read(root: &Path) -> Self {
        let open = |path: &str| {
            let root = Root::open(root).ok()?;
            let file = root.open_subpath(path, OpenFlags::O_RDONLY | OpenFlags::O_CLOEXEC).ok()?;
            let mut bytes = Vec::new();
            file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).ok()?;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        };
        Self { passwd: open("etc/passwd").unwrap_or_default(), group: open("etc/group").unwrap_or_default() }
    }

    /// Resolves `""`, `user`, `uid`, `user:group` and further groups as Docker does.
    pub(super) fn resolve(&self, user: &str, further: &[String]) -> Result<Identity, Failure> {
        let (user, group) = user.split_once(':').unwrap_or((user, ""));
        let wanted = if user.is_empty() { "0" } else { user };
        let entry = self.passwd.lines().filter_map(Account::parse).find(|a| a.is_called(wanted));
        let mut identity = match &entry {
            Some(account) => Identity {
                uid: account.uid,
                gid: account.gid,
                groups: Vec::new(),
                home: account.home.to_owned(),
            },
            None => Identity {
                uid: number(wanted, || {
                    format!("unable to find user {user}: no matching entries in passwd file")
                })?,
                gid: 0,
                groups: Vec::new(),
                home: String::new(),
            },
        };
        let mut groups = BTreeSet::new();
        if !group.is_empty() {
            identity.gid = self.group_id(group)?;
        } else if let Some(account) = &entry {
            groups.extend(self.groups().filter(|g| g.has_member(account.name)).map(|g| g.gid));
        }
        for name in further {
            groups.insert(self.group_id(name)?);
        }
        groups.insert(identity.gid);
        identity.groups = groups.into_iter().collect();
        if identity.home.is_empty() {
            "/".clone_into(&mut identity.home);
        }
        Ok(identity)
    }

    fn group_id(&self, wanted: &str) -> Result<u32, Failure> {
        match self.groups().find(|g| g.name == wanted || g.gid.to_string() == wanted) {
            Some(group) => Ok(group.gid),
            None => {
                number(wanted, || format!("unable to find group {wanted}: no matching entries in group file"))
            }
        }
    }

    fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        self.group.lines().filter_map(Group::parse)
    }
}

fn number(text: &str, otherwise: impl FnOnce() -> String) -> Result<u32, Failure> {
    let id: i64 = text.parse().map_err(|_| Failure::invalid(otherwise()))?;
    u32::try_from(id)
        .ok()
        .filter(|id| *id <= MAX_ID)
        .ok_or_else(|| Failure::invalid(format!("uids and gids must be in range 0-{MAX_ID}")))
}

struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> Account<'a> {
    /// `name:password:uid:gid:comment:home:shell`
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|n| !n.is_empty() && !n.starts_with('#'))?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Self { name, uid, gid, home: fields.nth(1).unwrap_or_default() })
    }

    fn is_called(&self, wanted: &str) -> bool {
        self.name == wanted || self.uid.to_string() == wanted
    }
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl<'a> Group<'a> {
    /// `name:password:gid:member,member`
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|n| !n.is_empty() && !n.starts_with('#'))?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some(Self { name, gid, members: fields.next().unwrap_or_default() })
    }

    fn has_member(&self, user: &str) -> bool {
        self.members.split(',').any(|m| m == user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts {
            passwd: "# comment\nroot:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001::/srv:/bin/sh\nbroken\n"
                .into(),
            group: "root:x:0:\nstaff:x:50:web,other\nweb:x:1001:\n".into(),
        }
    }

    fn identity(uid: u32, gid: u32, groups: &[u32], home: &str) -> Identity {
        Identity { uid, gid, groups: groups.to_vec(), home: home.into() }
    }

    #[test]
    fn users_are_found_by_name_and_number() {
        let resolve = |user: &str| accounts().resolve(user, &[]).unwrap();
        assert_eq!(resolve(""), identity(0, 0, &[0], "/root"));
        assert_eq!(resolve("web"), identity(1000, 1001, &[50, 1001], "/srv"));
        assert_eq!(resolve("1000"), identity(1000, 1001, &[50, 1001], "/srv"));
        assert_eq!(resolve("1234"), identity(1234, 0, &[0], "/"));
        assert_eq!(resolve("web:staff"), identity(1000, 50, &[50], "/srv"));
        assert_eq!(resolve("1234:77"), identity(1234, 77, &[77], "/"));
    }

    #[test]
    fn further_groups_are_added() {
        let found = accounts().resolve("1234", &["staff".into(), "9".into()]).unwrap();
        assert_eq!(found.groups, [0, 9, 50]);
    }

    #[test]
    fn the_unknown_are_refused_in_dockers_words() {
        let error = |user: &str| accounts().resolve(user, &[]).unwrap_err().message;
        assert_eq!(error("nosuch"), "unable to find user nosuch: no matching entries in passwd file");
        assert_eq!(error("web:nosuch"), "unable to find group nosuch: no matching entries in group file");
        assert_eq!(error("4294967295"), "uids and gids must be in range 0-2147483647");
        assert_eq!(error("-1"), "uids and gids must be in range 0-2147483647");
    }
}
