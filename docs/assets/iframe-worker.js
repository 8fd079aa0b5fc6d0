// Browsers start no worker for a page from disk, and the search of the site is one. On such pages
// this runs its script in a hidden frame instead. (The theme would load a script for it from the
// network.)
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.appendChild(frame)
      const inner = frame.contentWindow
      inner.postMessage = data => {
        this.dispatchEvent(new MessageEvent("message", { data }))
      }
      this.ready = new Promise((resolve, reject) => {
        const script = frame.contentDocument.createElement("script")
        script.src = url
        script.onload = resolve
        script.onerror = reject
        frame.contentDocument.body.appendChild(script)
      })
      this.inner = inner
    }

    postMessage(data) {
      this.ready.then(() => {
        this.inner.dispatchEvent(new MessageEvent("message", { data }))
      })
    }
  }
}
