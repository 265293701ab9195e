//! The forms of a URL, and what only Sentinel and a Cluster have: failovers, and parts that are away.

use std::net::SocketAddr;
use std::process::Command;

use milepost_redis_servers::{Cluster, Data, Options, Sentinels, Server};
use milepost_reporter::{InvalidUrl, Job, Notice, ProgressReporter, Reporter};

use crate::bench::{
    Notices, connect, eventually, is_delayed, is_failing, is_recovered, status, stored, wait_for,
    wait_for_end,
};

fn listed(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(",")
}

fn of_sentinels(all: &Sentinels) -> String {
    format!("redis+sentinel://{}/{}", listed(&all.addresses()), all.name())
}

fn of_cluster(cluster: &Cluster) -> String {
    format!("redis+cluster://{}", listed(&cluster.addresses()))
}

/// The state of a job in a Cluster, from whichever node has it.
fn in_cluster(cluster: &Cluster, job: &str, stage: &str) {
    let key = format!("job_status:{{{job}}}");
    let delivery = cluster.slot(&key);
    eventually(
        || format!("{job} is not in {stage}"),
        || {
            let node = &cluster.nodes[cluster.owner(delivery)];
            stored(node, &key).filter(|state| state["stage"] == stage)
        },
    );
}

#[test]
fn what_is_no_url_of_redis_is_said_without_the_password() {
    let refused = |url: &str| match Reporter::connect(url) {
        Err(InvalidUrl::Redis { reason }) => reason,
        other => panic!("{url}: {other:?}"),
    };
    assert!(refused("redis://a,b").contains("several hosts"));
    assert!(refused("redis+nothing://a").contains("redis+nothing"));
    let refused = refused("rediss://me:secret@host:notaport");
    assert!(!refused.contains("secret"), "{refused}");
}

#[test]
fn a_user_with_the_documented_rights_may_report() {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reporting.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let rules = docs.lines().find_map(|line| line.strip_prefix("ACL SETUSER worker on >secret "));
    let rules = rules.expect("the documentation lists the rights");
    let user = Some(("worker".to_owned(), "secret".to_owned(), rules.to_owned()));
    let server = Server::with(Options { user, ..Options::default() });
    let (reporter, notices) = connect(&server.url());
    reporter.job("a").complete();
    reporter.close();
    notices.assert_none();
    wait_for_end(&server, "a");
    let progress = ProgressReporter::new(&server.url()).unwrap();
    assert_eq!(status(&progress, "a")["status"], "completed");
    let denied = server.answer(&["ACL", "LOG"]);
    let denied: Vec<_> = denied.items().iter().map(|entry| format!("{entry:?}")).collect();
    // That one only came with Redis 7.2, is a courtesy, and may be refused.
    assert!(denied.iter().all(|entry| entry.contains("client|setinfo")), "{denied:?}");
}

#[test]
fn ends_sent_together_count_on_every_level() {
    let server = Server::start();
    let (reporter, _) = connect(&server.url());
    let batch = reporter.job("batch");
    let part = batch.child("part");
    let leaf = part.child("leaf");
    for job in [leaf, part, batch] {
        job.complete();
    }
    reporter.close();
    for job in ["batch", "part"] {
        let state = stored(&server, &format!("job_status:{job}")).unwrap();
        assert_eq!(
            (&state["status"], &state["children"]["completed"]),
            (&"completed".into(), &1.into()),
            "{state}"
        );
    }
}

#[test]
fn tls_is_used_with_trusted_servers() {
    let server = Server::with(Options { tls: true, ..Options::default() });
    // Whom to trust is read from the environment, so it takes a process.
    let report = |authority: Option<&std::path::Path>| {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "topologies::the_child_that_speaks_tls", "--ignored"]);
        child
            .env("MILEPOST_URL", server.url())
            .env_remove("SSL_CERT_DIR")
            .env_remove("SSL_CERT_FILE");
        if let Some(authority) = authority {
            child.env("SSL_CERT_FILE", authority);
        }
        let output = child.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = report(None);
    assert!(said.contains("cannot report"), "{said}");
    assert_eq!(stored(&server, "job_status:a"), None);
    let said = report(Some(&server.certificates().unwrap().authority));
    assert!(!said.contains("milepost:"), "{said}");
    wait_for_end(&server, "a");
}

#[test]
#[ignore = "run by another test, in an environment of its own"]
fn the_child_that_speaks_tls() {
    let reporter = Reporter::from_env();
    reporter.job("a").complete();
    reporter.close();
}

#[test]
fn after_a_sentinel_failover_the_end_reaches_the_new_primary() {
    let mut all = Sentinels::start(1);
    let (reporter, notices) = connect(&of_sentinels(&all));
    let job = reporter.job("a");
    job.stage("before");
    wait_for(&all.servers[all.primary()], "a", |state| state["stage"] == "before");
    std::thread::scope(|scope| {
        let primary = scope.spawn(|| all.fail_over().1);
        // The end is said while there is no primary.
        report_until(&job, &notices, is_failing);
        job.complete();
        primary.join().unwrap()
    });
    wait_for_end(&all.servers[all.primary()], "a");
    notices.wait_for(is_recovered);
    reporter.close();
    notices.assert_one_outage();
}

/// Says things until something is said of them.
fn report_until(job: &Job, notices: &Notices, wanted: fn(&Notice) -> bool) -> Notice {
    eventually(
        || "nothing failed".to_owned(),
        || {
            job.inc(1);
            notices.all().into_iter().find(wanted)
        },
    )
}

#[test]
fn a_lost_cluster_node_affects_only_the_jobs_in_its_slots() {
    let options = Options::default().line("cluster-require-full-coverage no");
    let mut cluster = Cluster::with(0, &options);
    let (reporter, notices) = connect(&of_cluster(&cluster));
    let names: Vec<String> = (0..60).map(|n| format!("job-{n}")).collect();
    let jobs: Vec<Job> = names.iter().map(|name| reporter.job(name)).collect();
    let say = |stage: &str| {
        for job in &jobs {
            job.stage(stage);
        }
    };
    say("before");
    for name in &names {
        in_cluster(&cluster, name, "before");
    }
    let owner = |name: &String| cluster.owner(cluster.slot(&format!("job_status:{{{name}}}")));
    let owners: Vec<usize> = names.iter().map(owner).collect();
    assert!((0..3).all(|node| owners.contains(&node)), "{owners:?}");

    cluster.nodes[1].kill();
    say("meanwhile");
    let seen = notices.wait_for(is_delayed);
    for (name, _) in names.iter().zip(&owners).filter(|(_, node)| **node != 1) {
        in_cluster(&cluster, name, "meanwhile");
    }
    cluster.nodes[1].restart(Data::Lost);
    for name in &names {
        in_cluster(&cluster, name, "meanwhile");
    }
    notices.wait_for(is_recovered);
    jobs.into_iter().for_each(Job::complete);
    for name in &names {
        in_cluster(&cluster, name, "complete");
    }
    reporter.close();
    assert_eq!(notices.all(), [seen, Notice::Recovered]);
    let progress = ProgressReporter::new(&of_cluster(&cluster)).unwrap();
    assert_eq!(status(&progress, "job-7")["status"], "completed");
}

#[test]
fn after_a_cluster_failover_the_end_reaches_the_new_primary() {
    let mut cluster = Cluster::start(1);
    let (reporter, notices) = connect(&of_cluster(&cluster));
    let job = reporter.job("a");
    job.stage("before");
    in_cluster(&cluster, "a", "before");
    let delivery = cluster.slot("job_status:{a}");
    let seen = std::thread::scope(|scope| {
        let over = scope.spawn(|| cluster.fail_over(delivery));
        let seen = report_until(&job, &notices, is_delayed);
        job.complete();
        over.join().unwrap();
        seen
    });
    in_cluster(&cluster, "a", "complete");
    notices.wait_for(is_recovered);
    reporter.close();
    assert_eq!(notices.all(), [seen, Notice::Recovered]);
}

#[test]
fn a_cluster_that_is_down_is_notified_as_any_other_redis() {
    let mut cluster = Cluster::start(0);
    let (reporter, notices) = connect(&of_cluster(&cluster));
    let jobs: Vec<Job> = (0..200).map(|n| reporter.job(&format!("job-{n}"))).collect();
    in_cluster(&cluster, "job-7", "processing");
    cluster.nodes.iter_mut().for_each(Server::kill);
    jobs[0].stage("down");
    notices.wait_for(is_failing);
    jobs.into_iter().for_each(Job::complete);
    for node in &mut cluster.nodes {
        node.restart(Data::Lost);
    }
    in_cluster(&cluster, "job-7", "complete");
    in_cluster(&cluster, "job-0", "complete");
    notices.wait_for(is_recovered);
    reporter.close();
    // Its parts went one by one, and came so.
    let mut seen = notices.all();
    seen.retain(|notice| !is_delayed(notice));
    assert!(matches!(seen[..], [Notice::Failing { .. }, Notice::Recovered]), "{seen:?}");
}
