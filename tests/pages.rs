//! `transcript.html` in a real browser: what a person clicks on works, nothing of a transcript runs or reaches out, and a large
//! page is laid out as quickly as a plain one.

mod common;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::chromium::{Chromium, Desktop};
use common::{ClaudeLog, Mount, World};
use serde_json::{Value, json};

/// Opens a page in a browser, or leaves the test, loudly.
macro_rules! opened {
    ($world:expr, $address:expr) => {
        match Desktop::new(&$world) {
            Some(desktop) => {
                desktop.open($address);
                desktop.chromium()
            }
            None => return common::skipped("no chromium, or no chromium-driver"),
        }
    };
}

fn address(page: &Path) -> String {
    url::Url::from_file_path(page).unwrap().to_string()
}

fn pages(mount: &Mount<'_>) -> Vec<PathBuf> {
    common::files_named(&mount.path("projects"), |name| name == "transcript.html")
}

/// Counts who connects.
fn tracker() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, asked) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&asked);
    std::thread::spawn(move || {
        for _ in listener.incoming() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    (port, asked)
}

/// A transcript whose every text tries to become markup.
fn hostile(port: u16) -> ClaudeLog {
    let web = format!("http://127.0.0.1:{port}");
    let run = "document.title='pwned'";
    let texts = [
        format!("<script>{run}</script><script src={web}/s.js></script>"),
        format!("<img src={web}/i.png onerror=\"{run}\"><svg onload=\"{run}\"></svg>"),
        format!("[click](javascript:{run}) [data](data:text/html,<script>{run}</script>) ![p]({web}/p.png)"),
        format!("</style><style>body{{background:url({web}/c.png)}}</style><link rel=stylesheet href={web}/l.css>"),
        format!(
            "<meta http-equiv=refresh content=\"0;url={web}/m\"><base href=\"{web}/\"><iframe src=\"{web}/f\"></iframe>"
        ),
        format!(
            "</title></nav></main></details></pre></code><body onload=\"{run}\"><form action={web}><button autofocus onfocus=\"{run}\">"
        ),
        format!(
            "```\"><script>{run}</script>\n</code></pre><script>{run}</script>\n```\n\n<div onclick='{run}'>\n\n**x**\n</div>"
        ),
        format!("\" onmouseover=\"{run}\" x=\"' onfocus='{run}' autofocus tabindex=1 '"),
        format!(
            "<a href={web}/x ping={web}/ping>a</a><details open ontoggle=\"{run}\"><video src={web}/v autoplay></video>"
        ),
    ];
    let mut log = ClaudeLog::new("hostile", 1);
    for text in &texts {
        log.user(text).assistant(text);
        log.record(
            "assistant",
            &json!({"message": {"id": format!("m{}", log.lines.len()), "role": "assistant", "model": text,
                "content": [{"type": "thinking", "thinking": text, "signature": "s"}]}}),
        );
        log.bash(text, text);
        log.tool("Edit", &json!({"file_path": text, "old_string": "a", "new_string": text}), false);
        log.tool(text, &json!({ "query": text, "long": text.repeat(60) }), true);
    }
    log
}

fn evaluate(chromium: &Chromium, script: &str) -> Value {
    chromium.evaluate(&format!("return {script}"))
}

#[test]
fn nothing_of_a_hostile_transcript_runs_or_reaches_out() {
    needs_fuse!();
    let world = World::new();
    let (port, asked) = tracker();
    hostile(port).write(&world.logs());
    world.import(&[&world.logs()]);
    let mount = Mount::new(&world);
    let page = pages(&mount).pop().unwrap();
    let chromium = opened!(world, &address(&page));
    chromium.wait_for("document.readyState === 'complete' && document.querySelectorAll('.turn').length > 40");
    // Everything is unfolded and shown once.
    evaluate(&chromium, "document.querySelectorAll('details').forEach(d => d.open = true)");
    evaluate(&chromium, "document.querySelectorAll('.turn').forEach(t => t.scrollIntoView())");
    let unwanted = "script, img, iframe, link, base, form, svg, video, object, embed, button, input, nav + nav";
    assert_eq!(evaluate(&chromium, &format!("document.querySelectorAll('{unwanted}').length")), 0);
    assert_eq!(evaluate(&chromium, "document.querySelectorAll('style').length"), 1);
    let attributes = "[...document.querySelectorAll('*')].flatMap(e => [...e.attributes]).filter(a => \
        /^on|^style$|^ping$|^autofocus$/.test(a.name) || \
        (a.name === 'href' && !/^#|^https?:|^sessions\\//.test(a.value))).map(a => a.name + '=' + a.value)";
    assert_eq!(evaluate(&chromium, attributes), json!([]));
    assert_ne!(chromium.title(), "pwned");
    assert!(chromium.title().ends_with(" · hostile"), "{}", chromium.title());
    assert!(chromium.address().starts_with("file:///"), "{}", chromium.address());
    // A text that was swallowed would be harmless, and lost.
    let shown = evaluate(&chromium, "document.querySelector('main').textContent");
    for text in
        ["<script>document.title='pwned'</script>", "ontoggle=", "</style><style>body{background", "javascript:"]
    {
        assert!(shown.as_str().unwrap().contains(text), "{text}");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0, "the page asked a server");
}

#[test]
fn somebody_reads_a_page() {
    needs_fuse!();
    let world = World::new();
    let mut log = ClaudeLog::new("long", 1);
    for number in 1..=40 {
        log.user(&format!("Question {number}"))
            .assistant(&format!("# Answer {number}\n\n{}", "A *word* more. ".repeat(80)));
        log.bash(&format!("make part-{number}"), &format!("built part {number}"));
    }
    log.write(&world.logs());
    world.import(&[&world.logs(), &common::demo_logs()]);
    let mount = Mount::new(&world);
    let all = pages(&mount);
    let page = all.iter().find(|page| page.to_string_lossy().contains("/long/")).unwrap();
    let chromium = opened!(world, &address(page));
    chromium.wait_for("document.readyState === 'complete'");
    assert_eq!(evaluate(&chromium, "document.querySelectorAll('nav li').length"), 40);

    // The index leads to the prompt, though what lies between was never shown.
    chromium.click_on("nav li:nth-child(37) a");
    let top = "document.querySelector('.turn:target').getBoundingClientRect().top";
    chromium.wait_for(&format!("Math.abs({top}) < innerHeight"));
    let text = evaluate(&chromium, "document.querySelector('.turn:target .said').textContent");
    assert_eq!(text, "Question 37");

    // A call is folded, and unfolds by a click.
    let output = "document.querySelector('#probe pre')";
    evaluate(&chromium, "document.querySelector('.turn:target ~ details').id = 'probe'");
    assert_eq!(evaluate(&chromium, &format!("{output}.checkVisibility({{contentVisibilityAuto: false}})")), false);
    chromium.click_on("#probe > summary b");
    assert_eq!(evaluate(&chromium, &format!("{output}.checkVisibility()")), true);
    assert_eq!(evaluate(&chromium, &format!("{output}.textContent.trim()")), "built part 37");
    assert_eq!(evaluate(&chromium, "document.querySelectorAll('.assistant em').length > 40"), true);
    chromium.picture("page-long.png");

    // Pictures are those beside the page.
    let with_picture = all.iter().find(|page| page.parent().unwrap().join("visuals").is_dir()).unwrap();
    chromium.visit(&address(with_picture));
    evaluate(&chromium, "document.querySelector('img').scrollIntoView()");
    chromium.wait_for("document.querySelector('img').naturalWidth > 0");
    chromium.picture("page-picture.png");
}

/// A page of nothing but paragraphs, of a length.
fn plain(length: usize) -> String {
    let paragraph = format!("<p>{}</p>\n", "What is said in a line of some length, and said again. ".repeat(8));
    format!(
        "<!doctype html>\n<meta charset=\"utf-8\">\n<title>plain</title>\n{}",
        paragraph.repeat(length / paragraph.len())
    )
}

/// Milliseconds until a page is there and laid out to its end.
fn laid_out(chromium: &Chromium, page: &Path) -> f64 {
    chromium.visit(&address(page));
    let script = "const t = performance.now(); document.body.offsetHeight; scrollTo(0, 1e9); document.body.offsetHeight; \
        const n = performance.getEntriesByType('navigation')[0]; return n.loadEventEnd + performance.now() - t";
    chromium.evaluate(script).as_f64().unwrap()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The largest session of the real ones; without those, a long one of ours.
#[test]
fn the_largest_page_is_laid_out_within_twice_the_time_of_a_plain_one() {
    let world = World::new();
    let data = std::env::var_os("COGFS_TEST_DATA").map(PathBuf::from).filter(|data| data.is_dir());
    match &data {
        Some(data) => drop(world.try_import(&[data])),
        None => {
            let mut log = ClaudeLog::new("large", 1);
            for number in 1..=300 {
                // Paragraphs as long as the plain page's: it is bytes that are compared, and boxes that cost.
                let paragraph = format!("A *long* `answer`, {}.\n\n", "and what belongs to it ".repeat(16));
                log.user(&format!("Question {number}")).assistant(&paragraph.repeat(5));
                log.bash("ls", &"a line of output\n".repeat(30));
            }
            log.write(&world.logs());
            world.import(&[&world.logs()]);
        }
    }
    let folder = world.root().join("exported");
    world.run(&["export", "--all", "--format", "html", "--output", folder.to_str().unwrap()]).exits(0);
    let largest = common::files(&folder).into_iter().max_by_key(|page| page.metadata().unwrap().len()).unwrap();
    let length = usize::try_from(largest.metadata().unwrap().len()).unwrap();
    let other = world.root().join("plain.html");
    fs::write(&other, plain(length)).unwrap();
    let chromium = opened!(world, "about:blank");
    let (mut ours, mut plain) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        ours.push(laid_out(&chromium, &largest));
        plain.push(laid_out(&chromium, &other));
    }
    let (ours, plain) = (median(ours), median(plain));
    eprintln!("a page of {length} bytes: {ours:.0} ms; a plain one: {plain:.0} ms");
    // Ours has many more boxes to a byte than any real one. A page that a browser shows at once is not worth a ratio.
    let most = if data.is_some() { 2.0 } else { 6.0 };
    assert!(ours <= most * plain.max(50.0), "{ours} ms against {plain} ms");
}
