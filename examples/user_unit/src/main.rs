use axum::Router;
use axum::routing::get;
use outlive::{Ended, Error, Server};

#[tokio::main]
async fn main() -> Result<Ended, Error> {
    let app = Router::new().route("/", get(hello));
    Server::new().journal().bind("http", "127.0.0.1:8080").serve(app).await
}

async fn hello() -> String {
    format!("hello from process {}\n", std::process::id())
}
