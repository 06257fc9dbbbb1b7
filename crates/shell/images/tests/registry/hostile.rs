//! A registry that answers whatever a test wants.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// How a path is answered.
#[derive(Clone)]
pub(crate) enum Answer {
    Document(Vec<u8>),
    /// Says that there is more than is sent.
    Cut(Vec<u8>),
    Error(u16, &'static str),
    Silence,
}

/// Answers by path; 404 for others.
pub(crate) struct Hostile {
    pub(crate) address: String,
    asked: Arc<Mutex<Vec<String>>>,
    _serving: JoinSet<()>,
}

impl Hostile {
    pub(crate) async fn start(answers: Vec<(String, Answer)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let answers: Arc<BTreeMap<String, Answer>> = Arc::new(answers.into_iter().collect());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mut serving = JoinSet::new();
        let log = Arc::clone(&asked);
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&answers), Arc::clone(&log)));
            }
        });
        Self { address, asked, _serving: serving }
    }

    /// How often a path was asked for.
    pub(crate) fn asked(&self, path: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| *asked == path).count()
    }
}

async fn serve(stream: TcpStream, answers: Arc<BTreeMap<String, Answer>>, log: Arc<Mutex<Vec<String>>>) {
    let mut stream = BufReader::new(stream);
    let mut request = String::new();
    // A TLS handshake is no text; the connection ends, as with any plain server.
    if stream.read_line(&mut request).await.is_err() {
        return;
    }
    let Some(path) = request.split(' ').nth(1).map(str::to_owned) else { return };
    let mut line = String::new();
    while stream.read_line(&mut line).await.is_ok_and(|length| length > 2) {
        line.clear();
    }
    log.lock().unwrap().push(path.clone());
    let mut respond = async |status: u16, claimed: usize, body: &[u8]| {
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {claimed}\r\nConnection: close\r\n\r\n");
        let _ = stream.write_all(&[head.as_bytes(), body].concat()).await;
    };
    match answers.get(&path) {
        None if path == "/v2/" => respond(200, 0, b"").await,
        None => respond(404, 0, b"").await,
        Some(Answer::Document(body)) => respond(200, body.len(), body).await,
        Some(Answer::Cut(body)) => respond(200, body.len() + 1000, body).await,
        Some(Answer::Error(status, body)) => respond(*status, body.len(), body.as_bytes()).await,
        Some(Answer::Silence) => std::future::pending().await,
    }
}
