//! A Redis that is too old. The tests start what `MILEPOST_TEST_REDIS_SERVER` names, which has to be Redis 6.2.

use milepost_broker::ReportError;
use milepost_broker_contract::{Settings, eventually};
use milepost_redis_servers::Server;

use crate::support;

#[tokio::test]
#[ignore = "needs Redis 6.2, which `cargo xtask test valkey` has"]
async fn a_redis_that_is_too_old_is_refused_in_words() {
    let server = Server::start();
    let it = support::redis_unproven(&Settings::default(), &server.url(), ());
    eventually("it says what is needed", || async {
        let why = it.broker().probe().await.err().map(|why| why.to_string()).unwrap_or_default();
        why.contains("this is Redis 6.2") && why.contains("needs Redis 7.0 or later, or Valkey")
    })
    .await;
    let refused = it.try_report(&it.job("a"), r#"{"status":"completed"}"#).await;
    assert!(matches!(refused, Err(ReportError::Unavailable(_))), "{refused:?}");
    it.close().await;
}
