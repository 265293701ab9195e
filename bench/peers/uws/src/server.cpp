// A bare publish/subscribe server: GET /ws/jobs/{id} subscribes to a job, POST /jobs/{id} publishes the body.
#include "App.h"

struct Watcher {
    std::string job;
};

// Every idle_seconds (8 to 960) without a message uWebSockets pings a watcher; 0: never.
extern "C" int serve(int port, unsigned short idle_seconds) {
    uWS::App app;
    bool listening = false;
    app.ws<Watcher>("/ws/jobs/:id", {
        .compression = uWS::DISABLED,
        .idleTimeout = idle_seconds,
        .maxBackpressure = 1024 * 1024,
        .upgrade = [](auto *response, auto *request, auto *context) {
            response->template upgrade<Watcher>({std::string(request->getParameter(0))},
                request->getHeader("sec-websocket-key"), {}, {}, context);
        },
        .open = [](auto *watcher) { watcher->subscribe(watcher->getUserData()->job); },
    });
    app.post("/jobs/:id", [&app](auto *response, auto *request) {
        response->onAborted([] {});
        response->onData([&app, response, job = std::string(request->getParameter(0)), body = std::string()](
                             std::string_view chunk, bool last) mutable {
            body.append(chunk);
            if (last) {
                app.publish(job, body, uWS::OpCode::TEXT, false);
                response->end("ok");
            }
        });
    });
    app.listen("127.0.0.1", port, [&listening](auto *socket) { listening = socket != nullptr; });
    if (listening) {
        app.run();
    }
    return listening ? 0 : 1;
}
