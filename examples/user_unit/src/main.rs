use axum::Router;
use axum::routing::get;
use outlive::{Control, Ended, Error, Server};

#[tokio::main]
async fn main() -> Result<Ended, Error> {
    if std::env::args().nth(1).as_deref() == Some("reload") {
        Control::new().reload()?; // asks the process that serves, and waits for the next one
        return Ok(Ended::default());
    }
    let app = Router::new().route("/", get(hello));
    Server::new().journal().bind("http", "127.0.0.1:8080").serve(app).await
}

async fn hello() -> String {
    format!("hello from process {}\n", std::process::id())
}
