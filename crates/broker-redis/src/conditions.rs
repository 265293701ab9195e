use milepost_redis::Failure;

/// What an operator has to know about a server, from its reply to `INFO`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Conditions {
    /// Why the server cannot be used at all.
    pub(crate) obstacle: Option<String>,
    /// What should be changed, although the server can be used.
    pub(crate) warning: Option<String>,
    /// The memory that it uses, in bytes.
    pub(crate) used_memory: usize,
}

impl Conditions {
    /// Parses a reply to `INFO`. In a Cluster a replica is not an obstacle, because its primary has the jobs.
    pub(crate) fn parse(info: &str, is_cluster: bool) -> Self {
        let field = |name: &str| {
            let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.map(str::trim)
        };
        let number = |name| field(name).and_then(|value| value.parse::<usize>().ok());
        let obstacle = too_old(field("redis_version").unwrap_or_default()).or_else(|| {
            (field("role") == Some("slave") && !is_cluster).then(|| {
                let part = |name| field(name).unwrap_or("?");
                let primary = format!("{}:{}", part("master_host"), part("master_port"));
                format!(
                    "this is a replica of {primary} and takes no writes: let REDIS_URL name the primary, or Sentinels \
                     (redis+sentinel://)"
                )
            })
        });
        let policy = field("maxmemory_policy").filter(|policy| *policy != "noeviction");
        let limit = number("maxmemory").filter(|bytes| *bytes > 0);
        let warning = limit.and(policy).map(|policy| {
            format!(
                "maxmemory-policy is {policy}: when its memory is full, Redis throws away jobs that run. Set it to \
                 noeviction"
            )
        });
        Self { obstacle, warning, used_memory: number("used_memory").unwrap_or(0) }
    }

    /// Combines several servers: the first obstacle, the first warning, and the memory of the first server.
    pub(crate) fn of_all(servers: &[String], is_cluster: bool) -> Result<Self, Failure> {
        let mut all = servers.iter().map(|info| Self::parse(info, is_cluster));
        let first = all.next().ok_or_else(|| Failure::unexpected("INFO"))?;
        Ok(all.fold(first, |first, other| Self {
            obstacle: first.obstacle.or(other.obstacle),
            warning: first.warning.or(other.warning),
            used_memory: first.used_memory,
        }))
    }
}

fn too_old(version: &str) -> Option<String> {
    const OLDEST: u32 = 7;
    let major = version.split('.').next()?.parse::<u32>().ok()?;
    (major < OLDEST).then(|| {
        format!("this is Redis {version}: Milepost needs Redis {OLDEST}.0 or later, or Valkey")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(lines: &str) -> Conditions {
        Conditions::parse(&lines.replace(' ', "\r\n"), false)
    }

    #[test]
    fn an_old_version_and_a_replica_are_obstacles() {
        let old = info("redis_version:6.2.13 role:slave").obstacle.unwrap();
        assert!(old.contains("6.2.13") && old.contains("7.0"), "{old}");
        let replica = info("redis_version:7.0.15 role:slave master_host:10.0.0.7 master_port:6379");
        assert!(replica.obstacle.unwrap().contains("10.0.0.7:6379"));
        for fine in ["redis_version:7.0.15 role:master", "redis_version:10.1.0", "nothing"] {
            assert_eq!(info(fine), Conditions::default(), "{fine}");
        }
        let replica = Conditions::parse("role:slave", true);
        assert_eq!(replica.obstacle, None, "its primary is another server of the Cluster");
    }

    #[test]
    fn an_evicting_policy_matters_where_memory_is_bounded() {
        let warning = info("maxmemory:1000 maxmemory_policy:allkeys-lru").warning.unwrap();
        assert!(warning.contains("allkeys-lru") && warning.contains("noeviction"), "{warning}");
        for fine in [
            "maxmemory:0 maxmemory_policy:allkeys-lru",
            "maxmemory:1000 maxmemory_policy:noeviction",
        ] {
            assert_eq!(info(fine).warning, None, "{fine}");
        }
        assert_eq!(info("used_memory:77 used_memory_rss:99").used_memory, 77);
    }
}
