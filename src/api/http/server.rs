//! The server's thread: connections in, requests led to their answers, and a clean end.

use super::door::Pass;
use super::early::Unsaid;
use super::parse::Refused;
use super::routes::{Asker, HEALTH, refusal, router};
use super::site::{HEAD_BYTES_MAX, HEADERS_MAX, HttpLimits, Site};
use super::{health, stream};
use crate::net::NodeView;
use axum::Router;
use axum::http::header::{CONNECTION, HeaderValue};
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1::{self, Parts};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;

/// How long the server rests when it cannot accept, as when descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long answers that are under way may take when the server stops.
const STOP_DEADLINE: Duration = Duration::from_millis(500);
/// How often it is looked whether they have come to their end.
const STOP_LOOK: Duration = Duration::from_millis(5);

/// The HTTP server of a node. Dropping it stops it.
pub struct HttpServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl HttpServer {
    /// Starts to serve on a socket that listens.
    ///
    /// # Errors
    /// The system refuses a thread or a descriptor.
    pub fn start(listener: TcpListener, view: NodeView, limits: HttpLimits) -> io::Result<HttpServer> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        // One thread for all requests, and one that may wait for the disk.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(1)
            .thread_name("http-disk")
            .build()?;
        let entered = runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener)?;
        drop(entered);
        let (stop, stopped) = oneshot::channel();
        let run = move || {
            runtime.block_on(serve(listener, view, limits, stopped));
            runtime.shutdown_timeout(STOP_DEADLINE);
        };
        let thread = std::thread::Builder::new().name("http".to_owned()).spawn(run)?;
        Ok(HttpServer { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the HTTP server's thread panicked");
        }
    }
}

async fn serve(
    listener: tokio::net::TcpListener,
    view: NodeView,
    limits: HttpLimits,
    stopped: oneshot::Receiver<()>,
) {
    let site = Arc::new(Site::new(view, limits));
    tokio::spawn(health::watch(site.clone()));
    tokio::spawn(stream::feed(site.clone()));
    let accepting = tokio::spawn(accept(listener, site.clone()));
    // Its sender is dropped, never used.
    let _ = stopped.await;
    accepting.abort();
    site.hub.close();
    site.stopping.send_replace(true);
    let empty = async {
        while site.door.inside() > 0 {
            sleep(STOP_LOOK).await;
        }
    };
    let _ = timeout(STOP_DEADLINE, empty).await;
}

async fn accept(listener: tokio::net::TcpListener, site: Arc<Site>) {
    let router = router(&site);
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                if let Some(pass) = site.door.enter(from.ip()) {
                    tokio::spawn(talk(stream, from.ip(), pass, site.clone(), router.clone()));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept an HTTP connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one connection to its end.
async fn talk(stream: TcpStream, address: IpAddr, pass: Pass, site: Arc<Site>, router: Router) {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(site.limits.stall_max));
    let (limits, served) = (&site.limits, pass.served);
    let answers = service_fn(|request: Request<Incoming>| {
        let (site, router) = (site.clone(), router.clone());
        async move { Ok::<_, Infallible>(answer(&site, router, address, served, request).await) }
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_deadline)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        // Who has said all may close its side and wait for the answer, which has its deadline.
        .half_close(true)
        .serve_connection(TokioIo::new(Unsaid::new(Box::pin(stream))), answers);
    let mut stopping = site.stopping.subscribe();
    let mut stopping = pin!(async move { _ = stopping.wait_for(|stopping| *stopping).await });
    let mut told = false;
    let ended = poll_fn(|cx| {
        if !told && stopping.as_mut().poll(cx).is_ready() {
            told = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        Pin::new(&mut connection).poll(cx)
    });
    if let Err(error) = ended.await {
        tracing::debug!(%address, %error, "an HTTP connection ended");
        let Parts { io, read_buf, .. } = connection.into_parts();
        let unsaid = io.into_inner();
        if let Some(refused) = unsaid.refused(&error, !read_buf.is_empty()) {
            site.counts.answer(refused.status);
            // Who is gone by now hears nothing.
            let _ = unsaid.say(&refused).await;
        }
    }
    drop(pass);
}

async fn answer(
    site: &Site,
    router: Router,
    address: IpAddr,
    served: bool,
    mut request: Request<Incoming>,
) -> Response {
    // Whoever watches over the node is not told that it is ill because others have taken all connections.
    let spared = served || request.uri().path() == HEALTH;
    let mut answer = if !spared {
        refusal(&Refused::busy("there are too many connections: try again"))
    } else if let Err(refused) = site.pay(address, 1) {
        refusal(&refused)
    } else {
        request.extensions_mut().insert(Asker(address));
        let routed = TowerToHyperService::new(router);
        match timeout(site.limits.answer_deadline, routed.call(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(never)) => match never {},
            Err(_) => refusal(&Refused::busy("the node did not answer in time: try again")),
        }
    };
    if !served {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    site.counts.answer(answer.status().as_u16());
    answer
}
