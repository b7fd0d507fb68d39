//! A command that runs in a container.

use std::process::{Child, Command, Output, Stdio};

/// A command that was started in a container.
pub struct Running {
    /// The command, for messages.
    command: String,
    child: Child,
}

impl Running {
    /// Starts `enter`, which runs a shell command.
    #[track_caller]
    pub fn start(command: &str, mut enter: Command) -> Self {
        let child = enter.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        Self { command: command.to_owned(), child: child.unwrap() }
    }

    /// Waits for its end and returns its standard output, without the last newline.
    ///
    /// # Panics
    ///
    /// If it fails.
    #[track_caller]
    pub fn finish(self) -> String {
        let command = self.command.clone();
        let output = self.output();
        assert!(output.status.success(), "{command}: {}\n{}", output.status, output.text());
        String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned()
    }

    /// Waits for its end as [`Self::finish`] does, while the clients of this thread go on.
    pub async fn finished(self) -> String {
        tokio::task::spawn_blocking(|| self.finish())
            .await
            .unwrap_or_else(|lost| std::panic::resume_unwind(lost.into_panic()))
    }

    /// Waits for its end, whatever that is.
    #[track_caller]
    pub fn output(self) -> Output {
        self.child.wait_with_output().unwrap()
    }
}

/// What a command wrote.
pub trait Text {
    /// Standard output, then standard error.
    fn text(&self) -> String;
}

impl Text for Output {
    fn text(&self) -> String {
        format!("{}{}", String::from_utf8_lossy(&self.stdout), String::from_utf8_lossy(&self.stderr))
    }
}
