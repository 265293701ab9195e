//! The pages and the browser's modules, as they are served.

use milepost_server::Config;

use crate::credentials::{KEY, guarded};
use crate::support::{Response, Server};

/// What `/milepost.js` may weigh on the wire, in bytes.
const BOUND: usize = 8 * 1024;

#[tokio::test]
async fn the_component_and_what_pages_run_are_the_bundles() {
    let server = Server::start().await;
    for (path, bundle) in [
        ("/job-progress.js", include_str!("../../../../web/job-progress.min.js")),
        ("/first.js", include_str!("../../../../web/first.min.js")),
        ("/index.js", include_str!("../../../../web/index.min.js")),
        ("/try.js", include_str!("../../../../web/try.min.js")),
    ] {
        assert_eq!(server.get(path).await.body, bundle, "{path}");
    }
}

#[tokio::test]
async fn the_browser_s_module_is_the_bundle_and_small() {
    let server = Server::start().await;
    let plain = server.get("/milepost.js").await;
    assert_eq!(plain.header("content-encoding"), None);
    assert_eq!(plain.body, include_str!("../../../../web/milepost.js"));

    let gzip =
        server.request("GET", "/milepost.js", "accept-encoding: br, gzip;q=0.5\r\n", "").await;
    assert_eq!(gzip.header("content-encoding"), Some("gzip"));
    assert_eq!(gzip.header("content-type"), plain.header("content-type"));
    let length: usize = gzip.header("content-length").unwrap().parse().unwrap();
    assert!(length < BOUND, "{length} bytes");
    let none = server.request("GET", "/milepost.js", "accept-encoding: gzip;q=0, br\r\n", "").await;
    assert_eq!((none.header("content-encoding"), &none.body), (None, &plain.body));
}

#[tokio::test]
async fn other_scripts_are_served_without_comments() {
    let server = Server::start().await;
    for path in ["/languages.js", "/notify.js"] {
        let script = server.get(path).await;
        for line in script.body.lines() {
            assert!(!line.is_empty() && !line.starts_with([' ', '*']), "{line:?}");
            assert!(!line.starts_with("//") && !line.starts_with("/**"), "{line:?}");
        }
    }
}

#[tokio::test]
async fn the_page_of_a_job_has_a_card_for_links_to_it() {
    let server = Server::start().await;
    let update = r#"{"stage":"cut","progress":0.5,"message":"<b>1 & \"2\""}"#;
    assert_eq!(server.request("POST", "/jobs/film:7", "", update).await.status, 200);
    let page = server.get("/?job=film%3A7&x=1").await;
    for tag in [
        r#"<meta property="og:title" content="film:7: 50%">"#,
        r#"<meta property="og:description" content="cut · &lt;b&gt;1 &amp; &quot;2&quot;">"#,
    ] {
        assert!(page.body.contains(tag), "{}", page.body);
    }
    let tag = page.header("etag").unwrap().to_owned();
    let ask = async || {
        server.request("GET", "/?job=film:7", &format!("if-none-match: {tag}\r\n"), "").await
    };
    assert_eq!(ask().await.status, 304);
    let failed = r#"{"status":"failed","error":"Traceback\nOSError: no space\n"}"#;
    assert_eq!(server.request("POST", "/jobs/film:7", "", failed).await.status, 200);
    let page = ask().await;
    assert!(page.body.contains(r#"content="film:7: failed">"#), "{}", page.body);
    assert!(page.body.contains(r#"content="OSError: no space">"#), "{}", page.body);
    for path in ["/", "/?job=nobody", "/?job=a/b", "/?job=%ff", "/?q=film:7"] {
        let page = server.get(path).await;
        assert!(page.status == 200 && !page.body.contains("og:"), "{path}");
    }
}

#[tokio::test]
async fn a_card_says_nothing_of_jobs_where_visitors_need_a_credential() {
    let server = Server::with(guarded()).await;
    let head = format!("authorization: Bearer {KEY}\r\n");
    let update = r#"{"message":"private"}"#;
    assert_eq!(server.request("POST", "/jobs/film:7", &head, update).await.status, 200);
    let page = server.get("/?job=film:7").await;
    assert!(page.status == 200 && !page.body.contains("og:"), "{}", page.body);
}

#[tokio::test]
async fn a_page_that_the_browser_has_is_not_sent_again() {
    let server = Server::start().await;
    for path in ["/", "/try", "/index.css", "/index.js", "/job-progress.js"] {
        let page = server.get(path).await;
        let vary = |answer: &Response| {
            let head = answer.head.to_ascii_lowercase();
            head.lines().any(|line| line.starts_with("vary:") && line.contains("accept-encoding"))
        };
        assert_eq!((page.status, page.header("cache-control")), (200, Some("no-cache")), "{path}");
        assert!(vary(&page), "{}", page.head);
        let tag = page.header("etag").unwrap();
        let ask = async |tag: &str| {
            server.request("GET", path, &format!("if-none-match: {tag}\r\n"), "").await
        };
        for known in [tag, &format!("\"other\", {tag}"), "*"] {
            let answer = ask(known).await;
            assert_eq!((answer.status, answer.body.as_str()), (304, ""), "{path} {known}");
            assert_eq!(answer.header("etag"), Some(tag));
            assert!(vary(&answer));
        }
        assert_eq!(ask("W/\"0\"").await.status, 200);
    }
}

#[tokio::test]
async fn a_frame_may_be_on_the_pages_that_are_configured() {
    let frame_ancestors = vec!["'self'".to_owned(), "https://app.example.com".to_owned()];
    let server = Server::with(Config { frame_ancestors, ..Config::default() }).await;
    let page = server.get("/embed/render-7?theme=dark").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("frame-ancestors 'self' https://app.example.com;"), "{policy}");
    for path in ["/embed.js", "/embed.css"] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
}
