// Generated from web/milepost/ by `node sdks/typescript/bundle.js`. Do not edit.
function p(o,...t){try{o?.(...t)}catch(e){queueMicrotask(()=>{throw e})}}var d=o=>["completed","failed","cancelled"].includes(o.status);function y(o,t){let[e,s]=t.split("-"),[i,n]=(o??"").split(
"-");return e!==i||!s||!n?NaN:n.length-s.length||(n<s?-1:+(n>s))}function u(o){try{let t=JSON.parse(o);return typeof t=="object"?t:null}catch{return null}}var U=6e5;function _(o,t,e,s){if([1e3,1002,1007,1009].includes(o)||o>=4400&&o<4500)return null;if(o===1011)return 1e3+s*
4e3;let i=o===1012||o===1013?u(t)?.retry_ms:void 0;return i>=0?Math.min(i,U):s*Math.min(3e4,1e3*2**Math.min(e,10))}var E=({
headers:o})=>Math.min(Number(o.get("retry-after"))*1e3*(1+Math.random())||0,U);var st=/^[!#$%&'*+.^`|~\w-]+$/;function T(o,t){let e=st.test(t),s=t&&!e?new URLSearchParams({token:t}):"";try{return new WebSocket(
`${o.replace(/^http/,"ws")}/ws?${s}`,e?["milepost",`milepost.bearer.${t}`]:[])}catch(i){let n={close(){}},r=String(i);return setTimeout(
()=>/^Syntax/.test(r)?n.onclose?.({code:4400,reason:r}):n.onerror?.()),n}}var N=o=>o.replace(/^ws/,"http").replace(/\/+$/,
"");var g=1e4,it=3,nt=100,ot=250,D=0,R=4404,O=4401,rt=3*g,W="unreadable-job",m=()=>performance.now(),$=class{#t=new Map;#e=0;#n=0;#s=0;#o="\
connecting";#r="";#i;#a=null;#c=-1/0;#l=0;#f=!1;#p=0;#g=0;#m=null;#b=null;#d=!1;#S=0;#u={};constructor(t,e,s){this.base=
N(t),this.token=e,this.#i=typeof e=="function"?null:e??"",this.notify=s}watch(t,e,s){this.#j(t),this.#t.set(t,{since:e,pace:s}),
this.#h(" rest"),this.#b?this.#I(t):this.#d?this.#v(t):!this.#m&&!this.#u[" retry"]&&this.#w()}unwatch(t){this.#j(t),this.#t.
delete(t)&&(this.#k({type:"unsubscribe",job_id:t}),this.#t.size||this.#h(" rest",100,()=>this.close()))}probe(){if(this.#b)
return this.#A(3e3);!this.#u[" retry"]&&!this.#d||(this.#n=this.#s=this.#e=0,this.#N(),this.#w())}close(){this.#t.clear(),
this.#N(),this.#y("connecting")}#w(){if(this.#h(" retry"),!!this.#t.size){if(this.#i===null)return this.#q();if(!this.#e&&
!globalThis.WebSocket&&(this.#e=1),!this.#e)return this.#$();this.#d=!0;for(let t of this.#t.keys())this.#v(t)}}#O(){if(this.#a)
return this.#a;let t;this.#c=m();let e=new Promise((i,n)=>{t=setTimeout(n,rt,new Error("no token came in time"))}),s=this.
token;return this.#a=Promise.race([e,Promise.resolve().then(s)]).then(i=>{this.#i=String(i??"")}).finally(()=>{clearTimeout(
t),this.#a=null})}#q(){this.#O().then(()=>this.#m||this.#d||this.#w(),t=>{console.warn(`milepost: no token: ${t}`),this.#D(
_(1006,"",this.#s++,Math.random())??0)})}#F(t){typeof this.token=="function"&&this.#h(" token",t*333,()=>{let e=this.#i;
this.#O().then(()=>this.#i!==e&&this.#k({type:"auth",token:this.#i}),()=>{})})}#B(){return typeof this.token!="function"||
(this.#i=null,++this.#l>1)?null:m()-this.#c<5e3?1e3:0}#$(){let t=T(this.base,this.#i??""),e=()=>{this.#h(" greeting"),this.#h(
" blocked"),t.onclose=t.onerror=t.onmessage=null,t.close(),this.#m=this.#b=null},s=(i,n)=>{e(),this.#d?this.#U():this.#T(
i,n)};this.#m=e,this.#r="",this.#h(" greeting",g,()=>s(1006,"")),t.onclose=i=>s(i.code,i.reason),t.onerror=()=>this.#h("\
 blocked",nt,()=>{this.#e=1,s(D,"")}),t.onmessage=i=>{this.#g=m(),this.#h(" dead");let n=u(i.data);if(typeof n?.position==
"string")return this.#M(n);if(this.#R(n?.timestamp),n?.type==="connected"){this.#h(" greeting"),this.#W(),this.#b=t,this.#e=
0,this.#f=!0,this.#l=0,this.#x();for(let r of this.#t.keys())this.#I(r);this.#L()}else n?.type==="subscribed"?this.#_(n.
job_id,n.known):n?.type==="token_expiring"?this.#F(n.in):n?.type==="error"&&this.#z(n)}}#L(){this.#h(" listen",2500,()=>{
m()-this.#g>g&&this.#A(5e3),this.#L()})}#A(t){this.#u[" dead"]||(this.#k({type:"ping"}),this.#h(" dead",t,()=>this.#T(1006,
"")))}#I(t){let e=this.#t.get(t);this.#k({type:"subscribe",job_id:t,since:e?.since,...e?.pace})}#k(t){this.#b?.send(JSON.
stringify(t))}#R(t){let e=Date.parse(t??"")-Date.now();Math.abs(e-this.#p)>=ot&&(this.#p=e,this.notify({t:"clock",skew:e}))}#M(t){
let e=this.#t.get(t.job_id);e&&(y(e.since,t.position)>0||(e.since=t.position),this.notify({t:"state",job:t.job_id,state:t}))}#_(t,e){
e===!1&&this.#t.has(t)&&this.notify({t:"unknown",job:t})}#z({problem:t,message:e="",job_id:s=""}){this.#t.has(s)?t===W?this.#C(
s,e):t==="forbidden"?this.#E(s,e,4403):/^invalid/.test(t??"")?this.#E(s,e,4400):this.#v(s):this.#r=e}#C(t,e){this.notify(
{t:"unreadable",job:t,reason:e})}#E(t,e,s){this.unwatch(t),this.notify({t:"rejected",job:t,reason:e,code:s})}async#v(t){
let e=this.#t.get(t);if(e)for(;;){let s=e.stop=new AbortController,i=c=>this.#h(t,c,()=>s.abort()),n=this.#S<it;this.#S+=
Number(n);let r=0;try{i(2*g),n&&this.#e===1&&!e.ended?await this.#K(t,e,s.signal,i):r=await this.#G(t,e,s.signal,n)}catch(c){
let{code:h,reason:a=""}=c;if(e.stop!==s)return;if([4400,4403].includes(h)||h===O&&typeof this.token!="function")return this.#E(
t,a,h);if(!this.#b)return this.#T(h,a);r=Math.max(5e3,u(a)?.retry_ms||0)}finally{this.#S-=Number(n)}if(e.stop!==s)return;
await new Promise(c=>this.#h(t,r,()=>c(null)))}}#j(t){let e=this.#t.get(t);this.#h(t),e?.stop?.abort(),e&&(e.stop=void 0)}async#P(t,e,s={}){
let i=this.#i;i&&(s.authorization=`Bearer ${i}`);let n=i?"manual":"follow",r=await fetch(`${this.base}/jobs/${t}`,{headers:s,
signal:e,redirect:n,cache:"no-store"}),{ok:c,status:h}=r;if(i&&(r.type==="opaqueredirect"||r.headers.has("location")))throw{
code:R,reason:`${this.base} redirects; a token is sent to the server itself only`};if(this.#J(r),this.#p||this.#R(r.headers.
get("date")),c||h===304||h===404)return this.#l=0,r;let a=E(r);if(a)throw{code:1013,reason:`{"retry_ms":${a}}`};let l=u(
await r.text())?.detail;throw{code:[400,401,403].includes(h)?4e3+h:1006,reason:l}}#J({ok:t,status:e,url:s,headers:i}){let n=i.
get("content-type")??"";if(this.#f||=(t?/json|event-stream/:/problem.json/).test(n)||e===204||e===304,!(this.#f||!(t||e===
404)))throw{code:R,reason:`no Milepost server at ${this.base}: ${s} answered ${e} ${n}`.trim()}}async#K(t,e,s,i){let n=Object.
entries({since:e.since,...e.pace}).filter(([,I])=>I),r=`${encodeURIComponent(t)}/events?${new URLSearchParams(n)}`,{body:c,
status:h}=await this.#P(r,s);if(e.ended=h===204,e.ended)return;if(h===404||!c)throw{};let a=c.pipeThrough(new TextDecoderStream).
getReader(),[l,f,b,S]=["","",2*g,m()];for(;!e.ended;){let{done:I,value:Q}=await a.read();if(s.aborted||I||l.length>1e7)throw{
code:1012,reason:f};let P=(l+Q).split(`

`);l=P.pop()??"";for(let tt of P){this.#x();let w=Object.fromEntries(tt.split(`
`).map(et=>et.split(/: ?(.*)/))),M=u(w.data);if(w.retry&&(f=`{"retry_ms":${w.retry}}`),!M)b=Math.max(5e3,m()-S);else if(w.
event==="end")e.ended=!0;else{if(w.event==="unauthenticated")throw{code:O,reason:M.detail};w.event===W?this.#C(t,M.detail):
w.event?this.#_(t,M.known):this.#M(M)}}S=m(),i(3*b)}}async#G(t,e,s,i){let n=m(),r=i&&this.#o==="open"?15:0,c=`${encodeURIComponent(
t)}?wait=${r}`,h=await this.#P(c,s,e.since?{"if-none-match":`"${e.since}"`}:{}),{status:a}=h,l=a===200&&await h.json();this.#d&&
this.#x(),a===404&&this.#_(t,!1),l&&(e.ended=d(l),this.#M(l));let f=i?1e3/(e.pace.max_rate??2):Math.max(2e3,100*this.#t.
size);return Math.max(f+n-m(),E(h))}#x(){this.#n=0,this.#y("open"),this.#u[" stable"]||this.#h(" stable",5e3,()=>this.#s=
0),this.#d&&this.#U()}#U(){this.#u[" climb"]||this.#m||!globalThis.WebSocket||this.#h(" climb",3*g,()=>this.#$())}#T(t,e){
let s=this.#o!=="open";if(this.#N(),t===D)return this.#w();s&&t!==O&&++this.#n===2&&(this.#n=0,this.#e=(this.#e+1)%3);let i=t===
O?this.#B():_(t,e,this.#s,Math.random());if(this.#s+=1,t===R)return this.#y("failed",e,t);if(i===null)return this.#y("cl\
osed",this.#r||e,t);this.#D(i)}#D(t){this.#y("connecting"),this.#h(" retry",t,()=>this.#w())}#N(){for(let t of Object.keys(
this.#u))this.#h(t);this.#m?.(),this.#W()}#W(){this.#d=!1,this.#h(" climb");for(let t of this.#t.keys())this.#j(t)}#h(t,e,s){
clearTimeout(this.#u[t]),delete this.#u[t],s&&(this.#u[t]=setTimeout(()=>{delete this.#u[t],s()},e))}#y(t,e="",s=0){t!==
this.#o&&(this.#o=t,this.notify({t:"connection",connection:t,reason:e,code:s}))}};var k=class{#t=new Map;#e=new Set;#n={t:"connection",connection:"connecting",reason:"",code:0};#s=null;constructor(t,e){
this.session=new $(t,e,s=>this.#a(s))}receive(t,e){e.t==="open"?(this.#e.add(t),t(this.#n),this.#s&&t(this.#s),e.lock&&navigator.
locks.request(e.lock,()=>this.#i(t))):e.t==="watch"?this.#o(t,e):e.t==="unwatch"?this.#r(e.job,e.key):e.t==="probe"?this.
session.probe():this.#i(t)}#o(t,{key:e,job:s,since:i,pace:n}){let r=this.#t.get(s)??{subscribers:new Map,pace:"",last:void 0};
this.#t.set(s,r),r.subscribers.set(e,{port:t,pace:n});let c=ht(r.subscribers),h=JSON.stringify(c),{last:a}=r;if(a&&t(a),
a?.t!=="state")this.session.watch(s,r.subscribers.size>1?void 0:i,c);else{let{position:l}=a.state,f=y(i,l)<0;(f||r.pace!==
h)&&this.session.watch(s,f?i:l,c)}r.pace=h}#r(t,e){let s=this.#t.get(t);!s?.subscribers.delete(e)||s.subscribers.size||(this.#t.
delete(t),this.session.unwatch(t))}#i(t){this.#e.delete(t);for(let[e,s]of this.#t)for(let[i,n]of s.subscribers)n.port===
t&&this.#r(e,i)}#a(t){let e=this.#e;if(t.t==="connection")this.#n=t;else if(t.t==="clock")this.#s=t;else{let s=this.#t.get(
t.job);if(!s)return;s.last=t,e=new Set([...s.subscribers.values()].map(i=>i.port)),t.t==="rejected"&&this.#t.delete(t.job)}
for(let s of e)s(t)}};function ht(o){let t=[...o.values()].map(s=>s.pace),e=t.map(s=>s.max_rate??1/0);return{mode:t.every(
s=>s.mode==="latest")?"latest":void 0,max_rate:e.includes(1/0)?void 0:Math.max(...e)}}var q="milepost-a43bc331",F=(o,t)=>JSON.stringify([q,import.meta.url,o,t]);function B(){let o=globalThis,[t,,e,s]=u(o.
name)??[];if(t!==q||!o.SharedWorkerGlobalScope)return;let i=new k(e,s),n=new Promise(r=>{navigator.locks.request(`${o.name}\
 worker`,()=>new Promise(()=>r()))});o.onconnect=({ports:[r]})=>{let c=h=>r.postMessage(h);r.onmessage=({data:h})=>i.receive(
c,h),n.then(()=>c({t:"hello"}))}}var z="document"in globalThis,v=Math.random().toString(36),L=class{#t=new Set;connection="connecting";reason="";code=0;skew=0;#e=null;#n=!1;#s=[];constructor(t,e,s){
if(this.url=t,this.token=e,this.name=F(t,String(e??"")),this.isShared=s&&typeof e!="function"&&z&&navigator.locks,this.#i(),
!!z){for(let i of["visibilitychange","online","offline","pageshow"])addEventListener(i,()=>{if(!document.hidden){this.#n?
this.#i():this.#e?.({t:"probe"});for(let n of this.#t)n.onConnection()}});addEventListener("pagehide",()=>this.#a())}}add(t){
this.#t.add(t),this.#e?.(t.command("watch"))}delete(t){this.#t.delete(t),this.#e?.(t.command("unwatch"))}#o=t=>{if(t.t===
"clock"){this.skew=t.skew;return}t.t==="connection"&&({connection:this.connection,reason:this.reason,code:this.code}=t),
this.connection==="failed"&&t.t==="connection"&&console.warn(`milepost: ${this.reason}`);for(let e of this.#t)t.t==="con\
nection"?e.onConnection():t.job===e.jobId&&e.onMessage(t)};#r(t,e){this.#e=t,t({t:"open",lock:e});for(let s of this.#t)t(
s.command("watch"))}#i(){this.#n=!1;let t=v+this.name;this.isShared?this.#c(t,()=>this.#f(t)):this.#l()}#a(){this.#n=!0,
this.#e?.({t:"bye"}),this.#e=null;for(let t of this.#s.reverse())t();this.#s=[]}#c(t,e){let s=new AbortController,i=new Promise(
n=>{this.#s.push(n,()=>s.abort())});navigator.locks.request(t,{signal:s.signal},()=>(e(),i)).catch(n=>{n.name!=="AbortEr\
ror"&&this.#l()})}#l(){let t=new k(this.url,this.token);return this.#s.push(()=>t.session.close()),this.#r(e=>t.receive(
this.#o,e)),t}#f(t){let e=this.#s;new Promise((i,n)=>{let r=new URL(import.meta.url);if(r.origin!==location.origin||!r.pathname.
endsWith("/milepost.js"))throw r;let c=new SharedWorker(r,{type:"module",name:this.name});c.onerror=n,setTimeout(n,3e3),
c.port.onmessage=({data:h})=>h.t==="hello"?i(c.port):this.#o(h)}).then(i=>{e===this.#s&&(this.#r(n=>i.postMessage(n),t),
this.#c(`${this.name} worker`,()=>{this.#a(),this.#i()}))},()=>e===this.#s&&this.#p(t))}#p(t){let e=new BroadcastChannel(
this.name),s=null,i=new Map;e.onmessage=({data:{from:n,to:r,command:c,message:h}})=>{if(n&&s){let a=i.get(n)??(l=>e.postMessage(
{to:n,message:l}));i.set(n,a),c.t==="bye"&&i.delete(n),s.receive(a,c)}else r===v?this.#o(h):r==="*"&&this.#e&&this.#r(this.#e,
t)},this.#s.push(()=>e.close()),this.#r(n=>e.postMessage({from:v,command:n}),t),this.#c(this.name,()=>{s=this.#l(),e.postMessage(
{to:"*"})})}};var ct=1e4,J=3e4,K=1e3,at=5e3,G=5e3,lt=2,ft=6e4,A=class{position;#t="WebSocket"in globalThis?0:1/0;#e=0;#n=0;#s=0;#o=K;#r=!1;#i=()=>{};constructor(t,e,s){
this.jobId=t,this.options=e,this.position=e.since,this.base=N(s),e.signal?.addEventListener("abort",()=>this.close()),e.
signal?.aborted||this.#a()}close(){this.#r=!0,this.#i()}async#a(){let{token:t}=this.options;for(;!this.#r;){let e;try{let s=String(
(typeof t=="function"?await t():t)??"");if(this.#r)return;e=await(performance.now()<this.#t?this.#g(s):this.#p(s))}catch(s){
let{code:i=1006,reason:n=""}=s;if(e=i===4401&&typeof t=="function"&&++this.#s===1?1e3:_(i,n,this.#n++,Math.random()),e===
null){this.close(),p(this.options.onError,Object.assign(new Error(n||"rejected"),{code:i}));return}}this.#r||await this.#c(
e)}}#c(t){return new Promise(s=>{let i=setTimeout(s,t);this.#i=()=>(clearTimeout(i),s())})}#l(){this.#t=performance.now()+
ft}#f({lines:t,next:e,log:s,log_gap:i}){this.#n=this.#s=0,this.position=e??(i?void 0:this.position),p(this.options.onLines,
{lines:t,gap:i===!0,log:s,next:e})}#p(t){return new Promise((e,s)=>{let i=T(this.base,t),n=!1,r,c=l=>{clearTimeout(r),i.
onmessage=i.onclose=i.onerror=null,i.close(),l()},h=(l,f)=>{l===1006&&!n&&++this.#e>=lt&&this.#l(),c(()=>s({code:l,reason:f}))},
a=l=>{clearTimeout(r),r=setTimeout(()=>h(1006,""),l)};this.#i=()=>c(()=>e(0)),a(ct),i.onclose=({code:l,reason:f})=>h(l,f),
i.onerror=()=>a(100),i.onmessage=({data:l})=>{a(J);let f=u(l);if(f?.type==="connected")n=!0,this.#e=0,i.send(JSON.stringify(
{type:"subscribe",job_id:this.jobId,log:!0,since:this.position}));else if(f?.type==="log")this.#f(f);else if(f?.type==="\
error"){let{problem:b,message:S}=f;if(b==="unknown-job")return c(()=>e(G));if(b==="forbidden")return h(4403,S);if(b==="u\
nauthenticated")return;if(!/^invalid|^too-many/.test(b))return c(()=>s({code:1012,reason:S}));this.#l(),c(()=>e(0))}}})}async#g(t){
let e=new AbortController;this.#i=()=>e.abort();let s=setTimeout(()=>e.abort(),J);try{let i=new URLSearchParams(this.position?
{since:this.position}:{}),n=await fetch(`${this.base}/jobs/${encodeURIComponent(this.jobId)}/log?${i}`,{headers:t?{authorization:`\
Bearer ${t}`}:{},redirect:t?"error":"follow",signal:e.signal,cache:"no-store"}),{ok:r,status:c}=n,h=u(await n.text());if(this.#r)
return 0;if(c===404)return G;if(!r||!Array.isArray(h?.lines)){let a=E(n);throw a?{code:1013,reason:`{"retry_ms":${a}}`}:
{code:[400,401,403].includes(c)?4e3+c:1006,reason:h?.detail}}return this.#o=h.lines.length?K:Math.min(at,this.#o*1.5),this.#f(
h),this.#o}finally{clearTimeout(s)}}};var ut=3e4,pt=1.5;function j(o){let[t,e]=/^\d{4}-\d\d-\d\dT.*?(z|[+-]\d\d:\d\d)?$/i.exec(String(o))??[];return Date.parse(
e?`${t}`:`${t}Z`)}var x=class{#t=null;#e=0;note(t,e){this.#t=t,this.#e=e}get#n(){return this.#t?.status==="processing"}silentFor(t){
return this.#n?Math.max(0,t-(j(this.#t?.last_seen_at)||this.#e)):null}standsFor(t){return this.#n?Math.max(0,t-(j(this.#t?.
progressed_at)||this.#e)):null}health(t){let{health:e}=this.#t??{};if(!this.#t||d(this.#t))return"ok";if(e==="ok"||e==="\
stalled"||e==="lost")return e;let{processing:s=0}=this.#t.children??{};return!s&&(this.silentFor(t)??0)>ut?"lost":"ok"}#s(t){
let e=this.#n&&this.health(t)==="ok";return{eta:e?j(this.#t?.eta):NaN,high:e?j(this.#t?.eta_high):NaN}}rate(t){let{eta:e}=this.#s(
t),s=j(this.#t?.progressed_at),i=this.#t?.progress;return this.#t?.eta_basis!=="rate"||typeof i!="number"||!(e>s)?null:(1-
i)/(e-s)*1e3}timeLeft(t){let{eta:e}=this.#s(t);return e>t?e-t:null}remaining(t){let{eta:e,high:s}=this.#s(t);return isNaN(
e)?null:dt((e-t)/1e3,(s-t)/1e3)}};function dt(o,t){let[e,s]=X(Math.max(0,o)),[i,n]=X(Math.max(0,isNaN(t)?o:t));return t<
1||isNaN(t)&&o<1?{kind:"longer",low:e,high:i,unit:s}:o<1?{kind:"below",low:e,high:i,unit:n}:{kind:t>o*pt&&s===n&&e<i?"be\
tween":"about",low:e,high:i,unit:s}}function X(o){let t=e=>Math.max(1,Math.round(o/e));return o<9.5?[t(1),"second"]:o<57.5?
[t(5)*5,"second"]:o<5400?[t(60),"minute"]:o<129600?[t(3600),"hour"]:[t(86400),"day"]}var mt=0,C=class{state=null;known=null;connection="connecting";error=null;#t=[];#e=[];#n=()=>{};#s=`${v} ${++mt}`;#o=!1;#r=!1;#i=!1;#a="";#c=new x;constructor(t,e,s){
this.jobId=t,this.options=e,this.client=s,this.pace={mode:e.mode,max_rate:e.maxRate},e.since&&this.#t.push(e.since),s.add(
this),this.onConnection(),e.signal?.addEventListener("abort",()=>this.close()),e.signal?.aborted&&this.close()}get position(){
return this.#t.at(-1)}get serverNow(){return Date.now()+this.client.skew}get timeLeft(){return this.connection==="open"?
this.#c.timeLeft(this.serverNow):null}get remaining(){return this.connection==="open"?this.#c.remaining(this.serverNow):
null}get silentFor(){return this.#c.silentFor(this.serverNow)}get standsFor(){return this.#c.standsFor(this.serverNow)}get health(){
return this.connection==="open"?this.#c.health(this.serverNow):"ok"}close(){this.#o||(this.#o=!0,this.client.delete(this),
this.onConnection(),this.#n())}async*[Symbol.asyncIterator](){try{for(;;){let t=this.#e.shift();if(t)yield t;else{if(this.
error)throw this.error;if(this.#o)return;await new Promise(e=>this.#n=()=>e(void 0))}}}finally{this.close()}}command(t){
return{t,key:this.#s,job:this.jobId,since:this.position,pace:this.pace}}onConnection(){let{connection:t,reason:e,code:s}=this.
client,i=t==="failed";if((i||t==="closed")&&!this.#o)return this.#r=i,this.#f(e,s);let n=t!=="open"&&globalThis.navigator?.
onLine===!1,r=t==="connecting"&&this.#i,c=this.#r?"failed":"closed",h=this.#o?c:n?"offline":r?"reconnecting":t;this.#i||=
t==="open",h!==this.connection&&(this.connection=h,p(this.options.onConnection,h))}onMessage(t){this.#o||(t.t==="rejecte\
d"?this.#f(t.reason,t.code):t.t==="unreadable"?this.#l(t.reason):t.t==="state"?this.#p(t.state):this.known!==!1&&(this.known=
!1,p(this.options.onUnknown)))}#l(t){let e=`the server cannot read ${this.jobId}: ${t}`;this.options.onWarning?p(this.options.
onWarning,e):console.warn(`milepost: ${e}`)}#f(t,e){this.error=Object.assign(new Error(t||"rejected"),{code:e}),this.close(),
p(this.options.onError,this.error)}#p(t){let{position:e}=t;if(this.#t.some(r=>y(r,e)>=0))return;let s=this.#t.filter(r=>isNaN(
y(r,e)));this.#t=[...s.slice(-3),e],this.state=t,this.#c.note(t,this.serverNow),this.known=!0;let i=this.#e.at(-1);if(i&&
!d(i)&&this.#e.pop(),this.#e=[...this.#e.slice(-8),t],this.#n(),p(this.options.onState,t),!d(t)||this.#o)return;let n=`${t.
attempt} ${t.status} ${t.timestamp}`;n!==this.#a&&p(this.options.onEnd,t),this.#a=n,this.options.follow||this.close()}},
Y=new Map,H=o=>new URL(o??"/",globalThis.location?.href).href;function V(o,t={}){let e=H(t.url),s=t.share??!0,{token:i}=t,
n=`${s} ${e}`,r=Y.get(i)??new Map,c=r.get(n)??new L(e,i,s);return Y.set(i,r.set(n,c)),new C(o,t,c)}function bt(o,t){return new A(
o,t,H(t.url))}function wt(o){let t=typeof o=="string"?o.split(/\r?\n|\r/).filter(s=>s.trim()):[],e=(t.filter(s=>!/^\s/.test(s)).at(-1)??
t.at(-1)??"").trim();return e.length>300?`${e.slice(0,300)}…`:e}function Z(o){let t=o?.stages;if(!o||!Array.isArray(t))return[];let e=t.map(n=>typeof n=="string"?{id:n}:n);if(!e.every(
n=>typeof n?.id=="string"))return[];let s=e.findIndex(({id:n})=>n===o.stage),i=d(o)&&o.status==="completed";return e.map(
({id:n,label:r,skipped:c},h)=>({id:n,label:typeof r=="string"&&r?r:n,is:c===!0?"skipped":i||h<s?"done":h===s?"now":"ahea\
d"}))}function yt(o){let{stage:t}=o??{};return Z(o).find(({id:e})=>e===t)?.label??(typeof t=="string"?t:"")}function ie(o,t){return V(o,t)}B();export{x as Outlook,wt as errorSummary,d as isEnd,yt as stageLabel,Z as stepsOf,ie as watch,bt as watchLog};
